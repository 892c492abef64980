package kafkatest

import (
	"net"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

func TestApacheBrokerIsKilledAndComesBack(t *testing.T) {
	a := StartApache(t, 3, "log.retention.check.interval.ms=12345")
	configs, err := a.admin.DescribeBrokerConfigs(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	interval := ""
	for _, config := range configs[0].Configs {
		if config.Key == "log.retention.check.interval.ms" {
			interval = config.MaybeValue()
		}
	}
	if interval != "12345" {
		t.Errorf("log.retention.check.interval.ms %q, want 12345", interval)
	}
	topic := UniqueName(t)
	a.CreateTopic(t, topic, 3, nil)
	produce := func(value string) {
		for partition := range int32(3) {
			a.Produce(t, topic, &kgo.Record{Partition: partition, Value: []byte(value)})
		}
	}
	produce("before")
	a.Kill(t, 1)
	produce("killed")
	a.StartNode(t, 1)
	a.WaitBrokers(t)
	a.Stop(t, 2)
	produce("stopped")
	a.StartNode(t, 2)
	a.WaitBrokers(t)
	if got := a.ReadAll(t, topic); len(got) != 9 {
		t.Errorf("%d records, want 9", len(got))
	}
}

func TestApacheIsStoppedWhenItsTestEnds(t *testing.T) {
	var addr string
	t.Run("test", func(t *testing.T) { addr = StartApache(t, 1).Addrs()[0] })
	if addr == "" {
		t.Skip("needs Apache Kafka: make test-kafka")
	}
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", addr)
	if err == nil {
		conn.Close()
		t.Errorf("the broker at %s still runs", addr)
	}
}
