package consumer_test

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"signup-sheet/consumer"
	"signup-sheet/consumer/auth"
	"signup-sheet/credentials"
	"signup-sheet/internal/certificates"
	"signup-sheet/internal/kafkatest"
)

// findings is what Check says, a line for each finding, in short.
func findings(t *testing.T, cfg consumer.Config, tables ...consumer.TableConfig) (lines []string, failed int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	for _, f := range consumer.Check(ctx, cfg, tables...) {
		if f.Err != nil {
			failed++
			lines = append(lines, fmt.Sprintf("no  %s: %v", f.What, f.Err))
			continue
		}
		lines = append(lines, fmt.Sprintf("yes %s: %s", f.What, f.Detail))
	}
	return lines, failed
}

// has requires a line with all of the parts.
func has(t *testing.T, lines []string, parts ...string) {
	t.Helper()
	if !slices.ContainsFunc(lines, func(line string) bool {
		for _, part := range parts {
			if !strings.Contains(line, part) {
				return false
			}
		}
		return true
	}) {
		t.Errorf("no line has %q:\n%s", parts, strings.Join(lines, "\n"))
	}
}

func TestCheckIsContentWithWhatAMemberNeeds(t *testing.T) {
	s := set(t, 3)
	lines, failed := findings(t, s.config())
	if failed > 0 {
		t.Errorf("%d failed:\n%s", failed, strings.Join(lines, "\n"))
	}
	for _, address := range s.Addrs() {
		has(t, lines, "yes broker "+address+": answers")
	}
	has(t, lines, "yes addresses of the cluster: ", s.Addrs()[0])
	has(t, lines, "yes topic "+s.topic+": 3 partitions, READ is allowed")
	has(t, lines, "yes dead-letter topic "+s.dlq()+": 2 partitions, WRITE is allowed, cleanup.policy=delete")
	has(t, lines, "yes group "+s.group+": may be joined, members now: 0")

	m := s.join(t)
	m.running(t, 3)
	lines, _ = findings(t, s.config())
	has(t, lines, "yes group "+s.group+": may be joined, members now: 1")
	m.leave(t)
}

// Check must be harmless: it may be run at any time, by anybody, beside members.
func TestCheckChangesNothing(t *testing.T) {
	s := set(t, 1, kafkatest.Fake())
	var mu sync.Mutex
	var asked []string
	s.Fake().Control(func(req kmsg.Request) (kmsg.Response, error, bool) {
		s.Fake().KeepControl()
		mu.Lock()
		defer mu.Unlock()
		if name := kmsg.NameForKey(req.Key()); !slices.Contains(asked, name) {
			asked = append(asked, name)
		}
		if m, ok := req.(*kmsg.MetadataRequest); ok && m.AllowAutoTopicCreation {
			t.Error("a metadata request would create topics")
		}
		return nil, nil, false
	})
	cfg := s.config()
	cfg.DeadLetterTopic = "missing"
	findings(t, cfg)
	findings(t, s.config())
	mu.Lock()
	defer mu.Unlock()
	slices.Sort(asked)
	if want := []string{"ApiVersions", "DescribeConfigs", "DescribeGroups", "FindCoordinator", "Metadata"}; !slices.Equal(asked, want) {
		t.Errorf("it asked for %q, want %q", asked, want)
	}
}

func TestCheckNamesThePermissionThatIsMissing(t *testing.T) {
	const topic, group = "signups", "sheet"
	allow := func(kind kmsg.ACLResourceType, name string, op kmsg.ACLOperation) kfake.ACL {
		return kfake.ACL{Resource: kind, Name: name, Pattern: kmsg.ACLResourcePatternTypeLiteral, Operation: op, Allow: true}
	}
	full := []kfake.ACL{
		allow(kmsg.ACLResourceTypeTopic, topic, kmsg.ACLOperationRead),
		allow(kmsg.ACLResourceTypeTopic, topic+".dlq", kmsg.ACLOperationWrite),
		allow(kmsg.ACLResourceTypeGroup, group, kmsg.ACLOperationRead),
	}
	for _, c := range []struct {
		name string
		acls []kfake.ACL
		want string // the finding that fails; empty: none
	}{
		{"all that is needed", full, ""},
		{"topic hidden", full[1:], `no  topic signups: kafka.topic: DESCRIBE and READ on topic "signups" are not allowed: allow them, or correct the setting`},
		{
			"topic only described", append([]kfake.ACL{allow(kmsg.ACLResourceTypeTopic, topic, kmsg.ACLOperationDescribe)}, full[1:]...),
			`no  topic signups: kafka.topic: READ on topic "signups" is not allowed: allow it`,
		},
		{
			"dead letters only described",
			[]kfake.ACL{full[0], full[2], allow(kmsg.ACLResourceTypeTopic, topic+".dlq", kmsg.ACLOperationDescribe)},
			`no  dead-letter topic signups.dlq: dead_letter.topic: WRITE on topic "signups.dlq" is not allowed: allow it`,
		},
		{"group hidden", full[:2], `no  group sheet: kafka.group: READ on group "sheet" is not allowed: allow it`},
		{
			"group only described", append([]kfake.ACL{allow(kmsg.ACLResourceTypeGroup, group, kmsg.ACLOperationDescribe)}, full[:2]...),
			`no  group sheet: kafka.group: READ on group "sheet" is not allowed: allow it`,
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &scene{
				Cluster: kafkatest.Start(t, kafkatest.Fake(kfake.EnableACLs(), kfake.User("PLAIN", "ANONYMOUS", "of no use without SASL", c.acls...))),
				topic:   topic, group: group, url: "http://127.0.0.1:1",
			}
			s.CreateTopic(t, s.topic, 1, nil)
			s.CreateTopic(t, s.dlq(), 1, nil)
			lines, failed := findings(t, s.config())
			if c.want == "" {
				if failed > 0 {
					t.Errorf("%d failed:\n%s", failed, strings.Join(lines, "\n"))
				}
				// The right to ask for it is not needed to work.
				has(t, lines, "yes dead-letter topic", "cleanup.policy unknown (it must be delete): ")
				return
			}
			has(t, lines, c.want)
			if failed != 1 {
				t.Errorf("%d failed, want 1:\n%s", failed, strings.Join(lines, "\n"))
			}
		})
	}
}

func TestCheckNamesTopicsThatAreMissingOrLoseDeadLetters(t *testing.T) {
	s := set(t, 1)
	compacted := kafkatest.UniqueName(t)
	s.CreateTopic(t, compacted, 1, map[string]string{"cleanup.policy": "compact"})
	cfg := s.config()
	cfg.Topic, cfg.DeadLetterTopic = s.topic+".gone", compacted
	lines, failed := findings(t, cfg)
	has(t, lines, "no  topic", `kafka.topic: topic "`+cfg.Topic+`" does not exist: create it, or correct the setting`)
	has(t, lines, "no  dead-letter topic", `dead_letter.topic: topic "`+compacted+`" has cleanup.policy=compact`, "set cleanup.policy=delete on it, or name another topic")
	if failed != 2 {
		t.Errorf("%d failed, want 2:\n%s", failed, strings.Join(lines, "\n"))
	}
}

func TestCheckLooksAtSharedTopics(t *testing.T) {
	s := set(t, 1)
	good, growing := kafkatest.UniqueName(t)+"-good", kafkatest.UniqueName(t)+"-growing"
	s.CreateTopic(t, good, 2, compactedTopic())
	s.CreateTopic(t, growing, 1, nil)
	lines, failed := findings(t, s.config(), s.sharedConfig(good), s.sharedConfig(growing), s.sharedConfig("gone."+good))
	if failed > 0 {
		t.Errorf("%d failed:\n%s", failed, strings.Join(lines, "\n"))
	}
	has(t, lines, "yes shared topic "+good+": 2 partitions, READ and WRITE are allowed, cleanup.policy=compact,delete")
	has(t, lines, "yes shared topic "+growing+": ", "cleanup.policy=delete (it should be compact,delete: ")
	has(t, lines, "yes shared topic gone."+good+": does not exist yet; the start creates it if it may (agify.cache_topic)")
}

func TestCheckNamesThePermissionThatASharedTopicNeeds(t *testing.T) {
	allow := func(topic string, op kmsg.ACLOperation) kfake.ACL {
		return kfake.ACL{Resource: kmsg.ACLResourceTypeTopic, Name: topic, Pattern: kmsg.ACLResourcePatternTypeLiteral, Operation: op, Allow: true}
	}
	for _, c := range []struct {
		name string
		acls []kfake.ACL
		want string
	}{
		{"both", []kfake.ACL{allow("ages", kmsg.ACLOperationRead), allow("ages", kmsg.ACLOperationWrite)}, "yes shared topic ages: 1 partitions, READ and WRITE are allowed, cleanup.policy unknown (it should be compact,delete): "},
		{"READ", []kfake.ACL{allow("ages", kmsg.ACLOperationRead)}, `no  shared topic ages: agify.cache_topic: WRITE on topic "ages" is not allowed: allow it`},
		{"WRITE", []kfake.ACL{allow("ages", kmsg.ACLOperationWrite)}, `no  shared topic ages: agify.cache_topic: READ on topic "ages" is not allowed: allow it`},
		{"none", nil, `no  shared topic ages: agify.cache_topic: DESCRIBE and READ and WRITE on topic "ages" are not allowed: allow them, or correct the setting`},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &scene{
				Cluster: kafkatest.Start(t, kafkatest.Fake(kfake.EnableACLs(), kfake.User("PLAIN", "ANONYMOUS", "of no use without SASL", c.acls...))),
				topic:   "signups", group: "sheet", url: "http://127.0.0.1:1",
			}
			s.CreateTopic(t, "ages", 1, compactedTopic())
			lines, _ := findings(t, s.config(), s.sharedConfig("ages"))
			has(t, lines, c.want)
		})
	}
}

// A bootstrap address that works hides brokers whose own addresses do not.
func TestCheckTriesTheAddressesThatTheClusterNames(t *testing.T) {
	s := set(t, 1, kafkatest.Fake(), kafkatest.Brokers(2))
	cfg := s.config()
	hidden := cfg.Brokers[1]
	cfg.Brokers = cfg.Brokers[:1]
	cfg.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		if address == hidden {
			return nil, &net.OpError{Op: "dial", Net: network, Err: context.DeadlineExceeded}
		}
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	lines, _ := findings(t, cfg)
	has(t, lines, "yes broker "+cfg.Brokers[0])
	has(t, lines, "no  addresses of the cluster: "+hidden+", as a broker is called in advertised.listeners: ", "correct host and port")
}

func TestCheckOfBrokersThatCannotBeReached(t *testing.T) {
	silent, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0") // takes connections, says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	const closed = "127.0.0.1:1" // nobody is given this port by chance

	s := set(t, 1)
	cfg := s.config()
	// No name server is asked about such a name, nor slow to answer.
	cfg.Brokers = []string{s.Addrs()[0], closed, "no-such..host:9092"}
	lines, failed := findings(t, cfg)
	has(t, lines, "yes broker "+cfg.Brokers[0])
	has(t, lines, "no  broker "+cfg.Brokers[1]+": ", "connection refused", "correct host and port")
	has(t, lines, "no  broker "+cfg.Brokers[2]+": ", "no-such..host", "correct host and port")
	has(t, lines, "yes topic")
	if failed != 2 {
		t.Errorf("%d failed, want 2:\n%s", failed, strings.Join(lines, "\n"))
	}

	began := time.Now()
	cfg.Brokers = []string{silent.Addr().String(), closed}
	lines, failed = findings(t, cfg)
	if failed != 2 || len(lines) != 2 {
		t.Errorf("want both brokers and no more:\n%s", strings.Join(lines, "\n"))
	}
	if took := time.Since(began); took > 11*time.Second {
		t.Errorf("it took %v, want no more than its context allows", took)
	}
}

// Hazard 27: kafka-go takes the first words of another server for the length of
// an answer, and memory for it.
func TestAPortThatIsNoBrokersIsRefused(t *testing.T) {
	web, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := web.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"))
			conn.Close()
		}
	})
	defer serving.Wait()
	defer web.Close()
	cfg := set(t, 1).config()
	cfg.Brokers = []string{web.Addr().String()}
	lines, _ := findings(t, cfg)
	has(t, lines, "no  broker "+cfg.Brokers[0], "is no Kafka broker: name another in kafka.brokers")
}

func TestCheckSaysWhatIsWrongWithTheConnection(t *testing.T) {
	authority, other := certificates.NewAuthority(t), certificates.NewAuthority(t)
	ca := credentials.Files{Authorities: certificates.Write(t, t.TempDir(), "ca.crt", authority.PEM)}
	wrong := credentials.Files{Authorities: certificates.Write(t, t.TempDir(), "ca.crt", other.PEM)}
	s := set(t, 1, passwords(serves(t, authority.Issue(t, "broker")), kfake.Superuser("PLAIN", "signup", "signup-secret"))...)
	right := logsIn(auth.Plain("signup", newSecretFile(t, "signup-secret").read))
	for _, c := range []struct {
		name   string
		tweaks []func(*consumer.Config)
		want   string // the remedy; empty: all is fine
	}{
		{"all is right", []func(*consumer.Config){encrypts(ca), right}, ""},
		{"another authority", []func(*consumer.Config){encrypts(wrong), right}, "kafka.tls.ca_file"},
		{"another password", []func(*consumer.Config){encrypts(ca), logsIn(auth.Plain("signup", newSecretFile(t, "other").read))}, "check kafka.sasl.username and kafka.sasl.password_file"},
		{"no TLS", []func(*consumer.Config){right}, "kafka.tls.enabled"},
		{"no login", []func(*consumer.Config){encrypts(ca)}, "login"},
		{"neither", nil, "kafka.tls.enabled"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg := s.config()
			for _, tweak := range c.tweaks {
				tweak(&cfg)
			}
			lines, failed := findings(t, cfg)
			if c.want == "" && failed > 0 {
				t.Errorf("%d failed", failed)
			}
			if c.want != "" {
				has(t, lines, "no  broker ", c.want)
			}
		})
	}
}

func TestCheckDoesNotMissATopicThatTheStartCreates(t *testing.T) {
	s := set(t, 1)
	cfg := s.config()
	cfg.DeadLetterTopic, cfg.CreateDeadLetter = s.topic+".new", true
	lines, failed := findings(t, cfg)
	has(t, lines, "yes dead-letter topic "+cfg.DeadLetterTopic+": does not exist yet; the start creates it")
	if failed > 0 {
		t.Errorf("%d failed:\n%s", failed, strings.Join(lines, "\n"))
	}
}
