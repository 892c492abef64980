package main_test

import (
	"crypto/tls"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	kscram "github.com/twmb/franz-go/pkg/sasl/scram"

	"signup-sheet/internal/certificates"
	"signup-sheet/internal/kafkatest"
	"signup-sheet/internal/receiver"
	"signup-sheet/internal/receiver/receivertest"
)

// The settings of kafka.tls and kafka.sasl, as an operator gives them, against brokers that want both: a certificate of
// ours, and a login.
func TestTheProgramConsumesFromSecuredBrokers(t *testing.T) {
	authority := certificates.NewAuthority(t)
	dir, client := t.TempDir(), authority.Issue(t, "signup")
	server := &tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{authority.Issue(t, "broker").TLS(t)},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: authority.Pool(),
	}
	s := &stage{topic: kafkatest.UniqueName(t), group: kafkatest.UniqueName(t), partitions: 2}
	s.Cluster = kafkatest.Start(t,
		kafkatest.Fake(kfake.TLS(server), kfake.EnableSASL(), kfake.Superuser("SCRAM-SHA-512", "signup", "S3CR3T")),
		kafkatest.Clients(
			kgo.DialTLSConfig(&tls.Config{MinVersion: tls.VersionTLS12, RootCAs: authority.Pool(), Certificates: []tls.Certificate{client.TLS(t)}}),
			kgo.SASL(kscram.Auth{User: "signup", Pass: "S3CR3T"}.AsSha512Mechanism()),
		))
	s.CreateTopic(t, s.topic, s.partitions, nil)
	sheet := receiver.New()
	p := s.start(t, receivertest.Serve(t, sheet),
		"--kafka.tls.enabled", "--kafka.tls.ca_file", certificates.Write(t, dir, "ca.crt", authority.PEM),
		"--kafka.tls.certificate_file", certificates.Write(t, dir, "tls.crt", client.Certificate),
		"--kafka.tls.key_file", certificates.Write(t, dir, "tls.key", client.Key),
		"--kafka.sasl.mechanism", "scram-sha-512", "--kafka.sasl.username", "signup",
		"--kafka.sasl.password_file", certificates.Write(t, dir, "password", []byte("S3CR3T\n")),
		"--dead_letter.create")
	s.publish(t, "r", 20)
	s.committed(t, 20)
	if st := sheet.State(); st.Rows != 20 || st.Duplicates() != 0 {
		t.Errorf("%d rows, %d duplicates, want 20 and none", st.Rows, st.Duplicates())
	}
	p.logged(t, "created the dead-letter topic", time.Time{})
	p.terminate(t)
	if strings.Contains(p.out.String(), "S3CR3T") {
		t.Error("the password is in the log")
	}
}
