package main_test

import (
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"signup-sheet/internal/kafkatest"
	"signup-sheet/internal/ports"
	"signup-sheet/internal/receiver"
	"signup-sheet/internal/receiver/receivertest"
)

const noWebhook = "http://127.0.0.1:1/rows" // these tests end before the first row

// The startup check, as a script that starts the program sees it.
func TestSetupThatCannotWorkEndsTheProgramWithCodeTwo(t *testing.T) {
	for _, c := range []struct {
		name    string
		prepare func(t *testing.T, s *stage)
		flags   func(s *stage) []string
		want    []string // parts of the error
	}{
		{
			"no dead-letter topic", func(t *testing.T, s *stage) { s.CreateTopic(t, s.topic, 1, nil) }, nil,
			[]string{"dead_letter.topic: topic ", " does not exist: create it, or correct the setting"},
		},
		{
			"compacted dead-letter topic", func(t *testing.T, s *stage) {
				s.CreateTopic(t, s.topic, 1, nil)
				s.CreateTopic(t, s.dlq(), 1, map[string]string{"cleanup.policy": "compact"})
			}, nil,
			[]string{"dead_letter.topic: topic ", "cleanup.policy=compact", "set cleanup.policy=delete on it, or name another topic"},
		},
		{
			"no topic and a dead-letter topic that is compacted and deleted", func(t *testing.T, s *stage) {
				s.CreateTopic(t, "other-"+s.topic, 1, map[string]string{"cleanup.policy": "compact,delete"})
			},
			func(s *stage) []string { return []string{"--dead_letter.topic", "other-" + s.topic} },
			[]string{"kafka.topic: topic ", " does not exist: create it, or correct the setting", "dead_letter.topic: topic ", "cleanup.policy=compact,delete"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel() // a topic is given some seconds to appear
			s := &stage{Cluster: kafkatest.Start(t), topic: kafkatest.UniqueName(t), group: kafkatest.UniqueName(t)}
			c.prepare(t, s)
			var flags []string
			if c.flags != nil {
				flags = c.flags(s)
			}
			p := s.start(t, noWebhook, flags...)
			if code := p.end(t, time.Minute); code != 2 {
				t.Errorf("exit code %d, want 2", code)
			}
			ends := p.out.lines("stopped")
			if len(ends) != 1 || ends[0].Level != "ERROR" {
				t.Fatalf("%d lines say that it stopped, want one error", len(ends))
			}
			for _, part := range c.want {
				if !strings.Contains(ends[0].Err, part) {
					t.Errorf("the error is %q, want %q in it", ends[0].Err, part)
				}
			}
		})
	}
}

// A cluster that is down is no wrong configuration: it comes back.
func TestProgramWaitsForBrokersThatAreDown(t *testing.T) {
	p := start(t, noWebhook, "--kafka.brokers", ports.Reserve(t).Address())
	said := p.logged(t, "cannot ask the brokers (kafka.brokers): trying again", time.Time{})
	if said.Level != "ERROR" || !strings.Contains(said.Err, "connection refused") {
		t.Errorf("%s: %s, want an error that says that the connection was refused", said.Level, said.Err)
	}
	if code, body := p.get(t, "/readyz"); code != 503 || !strings.Contains(body, "not a member of the group") {
		t.Errorf("/readyz: %d %s, want 503", code, body)
	}
	if code, _ := p.get(t, "/livez"); code != 200 {
		t.Errorf("/livez: %d, want 200: a restart would not help", code)
	}
	at := p.signal(t, syscall.SIGTERM)
	if code := p.end(t, time.Minute); code != 0 {
		t.Errorf("exit code %d after SIGTERM, want 0", code)
	}
	// Less than the drain timeout, 10 s, which is for what is under way.
	if took := time.Since(at); took > 9*time.Second {
		t.Errorf("the end took %v: there was nothing to finish", took)
	}
}

func TestProgramGoesOnWhenTheBrokersComeUp(t *testing.T) {
	port := ports.Reserve(t)
	sheet := receiver.New()
	s := &stage{topic: kafkatest.UniqueName(t), group: kafkatest.UniqueName(t), partitions: 1}
	p := start(t, receivertest.Serve(t, sheet), "--kafka.brokers", port.Address(), "--kafka.topic", s.topic, "--kafka.group", s.group)
	p.logged(t, "cannot ask the brokers (kafka.brokers): trying again", time.Time{})

	s.Cluster = kafkatest.Start(t, kafkatest.Fake(kfake.Ports(port.Number), kfake.ListenFn(func(string, string) (net.Listener, error) { return port.Listen() })))
	s.CreateTopic(t, s.topic, 1, nil)
	s.CreateTopic(t, s.dlq(), 1, nil)
	s.publish(t, "r", 10)
	s.committed(t, 10)
	if code, body := p.get(t, "/readyz"); code != 200 {
		t.Errorf("/readyz: %d %s, want 200", code, body)
	}
	if st := sheet.State(); st.Rows != 10 || st.Duplicates() != 0 {
		t.Errorf("%d rows, %d duplicates, want 10 and none", st.Rows, st.Duplicates())
	}
	p.terminate(t)
}
