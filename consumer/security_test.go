package consumer_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/segmentio/kafka-go/sasl"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	kplain "github.com/twmb/franz-go/pkg/sasl/plain"

	"signup-sheet/consumer"
	"signup-sheet/consumer/auth"
	"signup-sheet/credentials"
	"signup-sheet/internal/certificates"
	"signup-sheet/internal/kafkatest"
)

// secretFile is a password or a token in a file, as the program has it.
type secretFile struct{ dir, path string }

func newSecretFile(t *testing.T, text string) *secretFile {
	t.Helper()
	f := &secretFile{dir: t.TempDir()}
	f.put(t, text)
	return f
}

func (f *secretFile) put(t *testing.T, text string) {
	t.Helper()
	f.path = certificates.Write(t, f.dir, "secret", []byte(text+"\n"))
}

// keep puts a new text into the file every two seconds, until the test ends.
func (f *secretFile) keep(t *testing.T, text func() string) {
	t.Helper()
	stop := make(chan struct{})
	var kept sync.WaitGroup
	kept.Go(func() {
		for tick := time.NewTicker(2 * time.Second); ; {
			select {
			case <-tick.C:
				if err := os.WriteFile(f.path+".new", []byte(text()), 0o600); err != nil {
					t.Error(err)
				}
				if err := os.Rename(f.path+".new", f.path); err != nil {
					t.Error(err)
				}
			case <-stop:
				tick.Stop()
				return
			}
		}
	})
	t.Cleanup(func() {
		close(stop)
		kept.Wait()
	})
}

func (f *secretFile) read(context.Context) (string, error) { return credentials.Text(f.path).Read() }

// logsIn is the tweak that makes a member log in.
func logsIn(m sasl.Mechanism) func(*consumer.Config) {
	return func(c *consumer.Config) { c.SASL = m }
}

// encrypts is the tweak that makes a member use TLS, by these files.
func encrypts(files credentials.Files) func(*consumer.Config) {
	return func(c *consumer.Config) { c.TLS = credentials.NewTLS(files, slog.New(slog.DiscardHandler)).Config }
}

// passwords makes a kfake that wants a login, and may want TLS of these certificates. The cluster's own clients are a
// superuser.
func passwords(server *tls.Config, more ...kfake.Opt) []kafkatest.Option {
	opts := append([]kfake.Opt{kfake.EnableSASL(), kfake.Superuser("PLAIN", "admin", "admin-secret")}, more...)
	clients := []kgo.Opt{kgo.SASL(kplain.Auth{User: "admin", Pass: "admin-secret"}.AsMechanism())}
	if server != nil {
		opts = append(opts, kfake.TLS(server))
		clients = append(clients, kgo.DialTLSConfig(&tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true}))
	}
	return []kafkatest.Option{kafkatest.Fake(opts...), kafkatest.Clients(clients...)}
}

// serves is the TLS of a server.
func serves(t *testing.T, pair certificates.Pair) *tls.Config {
	t.Helper()
	return &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair.TLS(t)}}
}

// withPoison writes n signups and a poison record to each partition.
func (s *scene) withPoison(t *testing.T, prefix string, n int) []*kgo.Record {
	t.Helper()
	records := s.publish(t, prefix, n, 10)
	for p := range s.partitions {
		s.Produce(t, s.topic, poisonRecord(prefix, p))
	}
	return records
}

func TestEveryLoginWorksOverTLSAndWithout(t *testing.T) {
	authority := certificates.NewAuthority(t)
	ca := certificates.Write(t, t.TempDir(), "ca.crt", authority.PEM)
	for _, name := range []string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"} {
		for _, secured := range []bool{false, true} {
			t.Run(name+map[bool]string{true: " over TLS"}[secured], func(t *testing.T) {
				var server *tls.Config
				if secured {
					server = serves(t, authority.Issue(t, "broker"))
				}
				s := set(t, 2, passwords(server, kfake.Superuser(name, "signup", "signup-secret"))...)
				password := newSecretFile(t, "signup-secret").read
				m := s.join(t, func(c *consumer.Config) {
					c.SASL = map[string]func(string, auth.Secret) sasl.Mechanism{
						"PLAIN": auth.Plain, "SCRAM-SHA-256": auth.SCRAM256, "SCRAM-SHA-512": auth.SCRAM512,
					}[name]("signup", password)
					if secured {
						encrypts(credentials.Files{Authorities: ca})(c)
					}
				})
				records := s.withPoison(t, "r", 100)
				s.committed(t, 102)
				if n := len(s.ReadAll(t, s.dlq())); n != 2 {
					t.Errorf("%d dead letters, want 2", n)
				}
				m.leave(t)
				s.judge(t, records, 0)
			})
		}
	}
}

// What goes wrong between a member and secured brokers is said once, with the
// setting and the remedy. The member waits, ends when it is told to, and says no
// secret.
func TestBrokersThatCannotBeTalkedToAreNamedWithTheRemedy(t *testing.T) {
	authority, stranger := certificates.NewAuthority(t), certificates.NewAuthority(t)
	dir := t.TempDir()
	ours := credentials.Files{Authorities: certificates.Write(t, dir, "ca.crt", authority.PEM)}
	unknown := credentials.Files{Authorities: certificates.Write(t, dir, "stranger.crt", stranger.PEM)}
	certified := func(name string, pair certificates.Pair) credentials.Files {
		return credentials.Files{
			Authorities: ours.Authorities,
			Certificate: certificates.Write(t, dir, name+".crt", pair.Certificate), Key: certificates.Write(t, dir, name+".key", pair.Key),
		}
	}
	mutual := func(clients *certificates.Authority) *tls.Config {
		config := serves(t, authority.Issue(t, "broker"))
		config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, clients.Pool()
		return config
	}
	const secret = "S3CR3T-password"
	right := auth.Plain("admin", newSecretFile(t, "admin-secret").read)
	for name, tc := range map[string]struct {
		server *tls.Config // of the broker
		login  bool        // the broker wants one
		tweaks []func(*consumer.Config)
		host   string // instead of 127.0.0.1
		want   []string
	}{
		"an unknown authority": {
			server: serves(t, authority.Issue(t, "broker")), tweaks: []func(*consumer.Config){encrypts(unknown)},
			want: []string{"TLS: ", "certificate signed by unknown authority", "in kafka.tls.ca_file"},
		},
		"another host's certificate": {
			server: serves(t, authority.Issue(t, "broker")), tweaks: []func(*consumer.Config){encrypts(ours)}, host: "kafka.example",
			want: []string{"connect to kafka.example:", "certificate is valid for localhost, not kafka.example", "kafka.brokers and the brokers' advertised.listeners must have names"},
		},
		"an expired certificate": {
			server: serves(t, authority.Issue(t, "broker", certificates.Expired)), tweaks: []func(*consumer.Config){encrypts(ours)},
			want: []string{"certificate has expired", "renew the broker's certificate, or set the clock"},
		},
		"no TLS to a port with": {
			server: serves(t, authority.Issue(t, "broker")),
			want:   []string{"kafka.tls.enabled"},
		},
		"a login without TLS to a port with": {
			server: serves(t, authority.Issue(t, "broker")), login: true, tweaks: []func(*consumer.Config){logsIn(right)},
			want: []string{"kafka.tls.enabled"},
		},
		"no certificate of ours": {
			server: mutual(authority), tweaks: []func(*consumer.Config){encrypts(ours)},
			want: []string{"certificate required", "set kafka.tls.certificate_file and kafka.tls.key_file"},
		},
		"a certificate that the broker does not know": {
			server: mutual(authority), tweaks: []func(*consumer.Config){encrypts(certified("stranger", stranger.Issue(t, "signup")))},
			want: []string{"unknown certificate authority", "the broker may not take our certificate: check kafka.tls.certificate_file"},
		},
		"an expired certificate of ours": {
			server: mutual(authority), tweaks: []func(*consumer.Config){encrypts(certified("expired", authority.Issue(t, "signup", certificates.Expired)))},
			want: []string{"expired certificate", "check kafka.tls.certificate_file"},
		},
		"no login": {
			login: true,
			want:  []string{"the broker closed the connection", "kafka.sasl.mechanism"},
		},
		"a wrong password": {
			login: true, tweaks: []func(*consumer.Config){logsIn(auth.Plain("admin", newSecretFile(t, secret).read))},
			want: []string{"SASL PLAIN: ", "the broker refuses the login", "check kafka.sasl.username and kafka.sasl.password_file"},
		},
		"a wrong password with SCRAM": {
			login: true, tweaks: []func(*consumer.Config){logsIn(auth.SCRAM256("signup", newSecretFile(t, secret).read))},
			want: []string{"SASL SCRAM-SHA-256: ", "the broker refuses the login", "check kafka.sasl.username and kafka.sasl.password_file"},
		},
		"a mechanism that is not offered": {
			login: true, tweaks: []func(*consumer.Config){logsIn(auth.OAuthBearer(newSecretFile(t, secret).read))},
			want: []string{"SASL OAUTHBEARER: the broker offers PLAIN, SCRAM-SHA-256, SCRAM-SHA-512: correct kafka.sasl.mechanism"},
		},
		"a password that is gone": {
			login: true, tweaks: []func(*consumer.Config){logsIn(auth.Plain("admin", (&secretFile{path: dir + "/gone"}).read))},
			want: []string{"SASL PLAIN: read " + dir + "/gone: no such file or directory"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var opts []kafkatest.Option
			switch {
			case tc.login:
				opts = passwords(tc.server, kfake.Superuser("SCRAM-SHA-256", "signup", "signup-secret"))
			case tc.server != nil:
				opts = []kafkatest.Option{kafkatest.Fake(kfake.TLS(tc.server)), kafkatest.Clients(kgo.DialTLSConfig(&tls.Config{
					MinVersion: tls.VersionTLS12, InsecureSkipVerify: true, Certificates: []tls.Certificate{authority.Issue(t, "admin").TLS(t)},
				}))}
			default:
				opts = []kafkatest.Option{kafkatest.Fake()}
			}
			s := set(t, 1, opts...)
			m := s.join(t, append(tc.tweaks, func(c *consumer.Config) {
				if tc.host != "" {
					broker := c.Brokers[0]
					_, port, _ := net.SplitHostPort(broker)
					c.Brokers = []string{net.JoinHostPort(tc.host, port)}
					c.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) {
						return new(net.Dialer).DialContext(ctx, network, broker)
					}
				}
			})...)
			m.expectTrouble(t, tc.want...)
			if m.log.has(secret) {
				t.Error("the secret is in the log")
			}
			m.leave(t)
		})
	}
}

// expectTrouble waits until the member says why it cannot start, in these words,
// and requires that it goes on trying.
func (m *member) expectTrouble(t *testing.T, want ...string) {
	t.Helper()
	await(t, "a log line", func() bool { return m.log.has("trying again") })
	said := ""
	for line := range strings.Lines(m.log.String()) {
		if strings.Contains(line, "trying again") {
			said = line
			break
		}
	}
	expectWords(t, said, append(want, "level=ERROR")...)
	select {
	case <-m.done:
		t.Fatalf("the member ended: %v", m.err)
	default:
	}
}

// cord is what lies between a member and brokers, encrypted or not.
type cord struct {
	mu    sync.Mutex
	conns []net.Conn
}

func (c *cord) on(cfg *consumer.Config) {
	cfg.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if err != nil {
			return nil, err
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.conns = append(c.conns, conn)
		return conn, nil
	}
}

// cut closes all connections.
func (c *cord) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range c.conns {
		conn.Close()
	}
	c.conns = nil
}

// A password that is changed at the brokers first, and in the file some time
// later, costs the wait and nothing else.
func TestAChangedPasswordIsPickedUp(t *testing.T) {
	s := set(t, 2, passwords(nil, kfake.Superuser("SCRAM-SHA-256", "signup", "signup-secret"))...)
	s.passwordChanges(t)
}

// passwordChanges is for a scene with the user signup, whose password is signup-secret.
func (s *scene) passwordChanges(t *testing.T, tweaks ...func(*consumer.Config)) {
	t.Helper()
	var cord cord
	file := newSecretFile(t, "signup-secret")
	m := s.join(t, append(tweaks, logsIn(auth.SCRAM256("signup", file.read)), cord.on)...)
	records := s.withPoison(t, "before", 100)
	s.committed(t, 102)
	s.SetPassword(t, "signup", "another-secret")
	cord.cut()
	await(t, "a refused login", func() bool { return m.log.has("the broker refuses the login") })
	records = append(records, s.withPoison(t, "after", 100)...)
	file.put(t, "another-secret")
	s.committed(t, 204)
	m.leave(t)
	s.judge(t, records, 0)
	if m.log.has("signup-secret") || m.log.has("another-secret") {
		t.Error("a password is in the log")
	}
	if n := strings.Count(m.log.String(), "the broker refuses the login"); n > 20 {
		t.Errorf("%d log lines about it", n)
	}
}

// Hazard 27: a login that ends is made anew on the connection, before that:
// brokers close no connection, and the group has no rebalance.
func TestALoginIsRenewedOnItsConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := setVirtual(t, 2, passwords(nil, kfake.Superuser("SCRAM-SHA-512", "signup", "signup-secret"),
			kfake.BrokerConfigs(map[string]string{"connections.max.reauth.ms": "120000"}))...)
		w := newWire(s)
		m := s.join(t, logsIn(auth.SCRAM512("signup", newSecretFile(t, "signup-secret").read)), w.on)
		m.running(t, 2)
		generation, records := m.Status().Generation, []*kgo.Record(nil)
		for lifetime := range 3 {
			began := time.Now()
			for i := range 10 {
				records = append(records, s.publish(t, fmt.Sprintf("l%d-%d", lifetime, i), 4, 4)...)
				time.Sleep(12 * time.Second) //nolint:forbidigo // virtual
			}
			// Those of the heartbeats, the commits and the fetches are never idle, and as old as the member.
			if n := len(w.exchanges(kmsg.SASLHandshake, began)); n < 3 {
				t.Errorf("%d logins in the time that one counts", n)
			}
		}
		s.committed(t, int64(len(records)))
		if g := m.Status().Generation; g != generation || m.metric(t, "rebalances_total") != 1 {
			t.Errorf("generation %d became %d", generation, g)
		}
		if m.log.has("level=WARN") || m.log.has("level=ERROR") {
			t.Error("the log is not calm")
		}
		m.leave(t)
		s.judge(t, records, 0)
	})
}

// A connection that is closed waits for no other login: whoever stops leaves
// nothing behind.
func TestAClosedConnectionWaitsForNoLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := setVirtual(t, 2, passwords(nil, kfake.Superuser("PLAIN", "signup", "signup-secret"),
			kfake.BrokerConfigs(map[string]string{"connections.max.reauth.ms": "500"}))...)
		topic := kafkatest.UniqueName(t)
		p := s.share(t, topic, func(c *consumer.TableConfig) {
			c.SASL = auth.Plain("signup", newSecretFile(t, "signup-secret").read)
		})
		p.readyWithin(t, time.Second)
		await(t, "a fetch that waits for a login", func() bool {
			s.produce(t, topic, map[string]string{}, "k", 1) // ends one fetch, and begins another
			return waitsForLogin()
		})
		p.stop()
		if waitsForLogin() {
			t.Error("a request still waits")
		}
	})
}

// waitsForLogin reports whether a goroutine has a request that waits until its
// connection may log in again.
func waitsForLogin() bool {
	synctest.Wait()
	stacks := make([]byte, 4<<20)
	stacks = stacks[:runtime.Stack(stacks, true)]
	for stack := range strings.SplitSeq(string(stacks), "\n\n") {
		_, frame, _ := strings.Cut(stack, "\n")
		if strings.HasPrefix(frame, "signup-sheet/consumer.(*loginConn).Write(") {
			return true
		}
	}
	return false
}

// Hazard 27: brokers take one login of a connection in a second, and no request
// after a login's end, though logins can be shorter than that: a token is used
// until shortly before its end.
func TestLoginsOfAConnectionAreASecondApart(t *testing.T) {
	for _, lifetime := range []time.Duration{500 * time.Millisecond, 1100 * time.Millisecond} {
		t.Run(lifetime.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := setVirtual(t, 2, passwords(nil, kfake.Superuser("PLAIN", "signup", "signup-secret"),
					kfake.BrokerConfigs(map[string]string{"connections.max.reauth.ms": strconv.Itoa(int(lifetime.Milliseconds()))}))...)
				w := newWire(s)
				m := s.join(t, logsIn(auth.Plain("signup", newSecretFile(t, "signup-secret").read)), w.on)
				m.running(t, 2)
				var records []*kgo.Record
				for i := range 50 {
					records = append(records, s.publish(t, fmt.Sprintf("l%d", i), 2, 2)...)
					time.Sleep(100 * time.Millisecond) //nolint:forbidigo // virtual
				}
				s.committed(t, int64(len(records)))
				m.leave(t)
				s.judge(t, records, 0)
				logins := w.exchanges(kmsg.SASLHandshake, time.Time{})
				last, renewed := map[*wireConn]exchange{}, 0
				for _, login := range logins {
					if before, again := last[login.conn]; again {
						renewed++
						if d := login.sent.Sub(before.answered); d < time.Second {
							t.Errorf("another login of a connection after %v", d)
						}
					}
					last[login.conn] = login
				}
				if renewed < 8 {
					t.Errorf("%d logins were renewed", renewed)
				}
				for _, heartbeat := range w.exchanges(kmsg.Heartbeat, time.Time{}) {
					var login exchange
					for _, other := range logins {
						if other.conn == heartbeat.conn && !other.sent.After(heartbeat.sent) {
							login = other
						}
					}
					if d := heartbeat.sent.Sub(login.answered); d > lifetime {
						t.Errorf("a heartbeat %v after a login", d)
					}
				}
			})
		})
	}
}

// Hazard 27: a secret that is not there when a login is to be renewed is asked for
// again while the login counts.
func TestAFileThatIsBeingWrittenCostsNoConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := setVirtual(t, 2, passwords(nil, kfake.Superuser("SCRAM-SHA-512", "signup", "signup-secret"),
			kfake.BrokerConfigs(map[string]string{"connections.max.reauth.ms": "120000"}))...)
		w := newWire(s)
		f := newSecretFile(t, "signup-secret")
		m := s.join(t, logsIn(auth.SCRAM512("signup", f.read)), w.on)
		m.running(t, 2)
		generation, records := m.Status().Generation, []*kgo.Record(nil)
		for i := range 60 {
			if i == 15 { // 90 s: shortly before logins are renewed
				if err := os.WriteFile(f.path, nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if i == 17 {
				if err := os.WriteFile(f.path, []byte("signup-secret\n"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			records = append(records, s.publish(t, fmt.Sprintf("l%d", i), 4, 4)...)
			time.Sleep(6 * time.Second) //nolint:forbidigo // virtual
		}
		s.committed(t, int64(len(records)))
		if g := m.Status().Generation; g != generation || m.metric(t, "rebalances_total") != 1 {
			t.Errorf("generation %d became %d, %v rebalances", generation, g, m.metric(t, "rebalances_total"))
		}
		m.leave(t)
		s.judge(t, records, 0)
	})
}

// A broker that says nothing in a login keeps neither the member from trying
// again nor the process from ending.
func TestALoginWithoutAnAnswerIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := setVirtual(t, 1, passwords(nil)...)
		w := newWire(s)
		var mute sync.Mutex
		muted := true
		w.request = func(r kmsg.Request) fate {
			mute.Lock()
			defer mute.Unlock()
			if _, login := r.(*kmsg.SASLHandshakeRequest); login && muted {
				return lost
			}
			return arrives
		}
		m := s.join(t, logsIn(auth.Plain("admin", newSecretFile(t, "admin-secret").read)), w.on)
		time.Sleep(time.Minute) //nolint:forbidigo // virtual
		if !m.log.has("no answer in time (is the broker reachable, and is TLS or SASL expected?)") {
			t.Error("nothing is said")
		}
		if n := len(w.exchanges(kmsg.SASLHandshake, time.Time{})); n < 3 {
			t.Errorf("%d logins in a minute", n)
		}
		mute.Lock()
		muted = false
		mute.Unlock()
		m.running(t, 1)
		open := 0
		w.set(func() { open = len(w.conns) })
		if open > 10 {
			t.Errorf("%d connections are open: those that were given up are not closed", open)
		}
		m.leave(t)
	})
}

// permission is one that a member needs.
type permission struct {
	kafkatest.Permission
	words string // that ask for it
}

func (s *scene) permissions() map[string]permission {
	topics := func(op kadm.ACLOperation, topic string) kafkatest.Permission {
		return kafkatest.Permission{Operation: op, Topics: []string{topic}}
	}
	return map[string]permission{
		"topic":       {topics(kadm.OpRead, s.topic), "allow READ on topic " + s.topic},
		"group":       {kafkatest.Permission{Operation: kadm.OpRead, Groups: []string{s.group}}, "allow READ on group " + s.group},
		"dead letter": {topics(kadm.OpWrite, s.dlq()), "allow WRITE on topic " + s.dlq()},
	}
}

// guarded is a scene on kfake with access control in the bubble, with the user
// signup, who may do nothing yet.
func guarded(t *testing.T, partitions int32) *scene {
	t.Helper()
	return setVirtual(t, partitions, passwords(nil, kfake.EnableACLs(), kfake.User("PLAIN", "signup", "signup-secret"))...)
}

const principal = "User:signup"

func plainUser(t *testing.T) func(*consumer.Config) {
	t.Helper()
	return logsIn(auth.Plain("signup", newSecretFile(t, "signup-secret").read))
}

// A permission that is missing at the start is asked for, calmly, until it is
// there.
func TestPermissionsThatAreMissingAtTheStartAreWaitedFor(t *testing.T) {
	for _, missing := range []string{"topic", "group", "dead letter"} {
		t.Run(missing, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := guarded(t, 2)
				all := s.permissions()
				for name, p := range all {
					if name != missing {
						s.Allow(t, principal, p.Permission)
					}
				}
				records := s.withPoison(t, "r", 100)
				m := s.join(t, plainUser(t))
				time.Sleep(5 * time.Minute) //nolint:forbidigo // virtual
				if !m.log.has(all[missing].words) {
					t.Errorf("the log does not say %q", all[missing].words)
				}
				if n := strings.Count(m.log.String(), "level=ERROR"); n > 5*60/10+1 {
					t.Errorf("%d errors in five minutes", n)
				}
				s.Allow(t, principal, all[missing].Permission)
				s.committed(t, 102)
				m.leave(t)
				s.judge(t, records, 0)
			})
		})
	}
}

// A permission that is withdrawn while a member runs, and given back, costs the
// wait and nothing else.
func TestPermissionsThatAreWithdrawnAreWaitedFor(t *testing.T) {
	for _, withdrawn := range []string{"topic", "group", "dead letter"} {
		t.Run(withdrawn, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := guarded(t, 2)
				for _, p := range s.permissions() {
					s.Allow(t, principal, p.Permission)
				}
				areWithdrawn(t, principal, 5*time.Minute, &withdrawal{
					scene: s, permission: s.permissions()[withdrawn], tweaks: []func(*consumer.Config){plainUser(t)},
				})
			})
		})
	}
}

// withdrawal is a permission that is taken away from a scene's member.
type withdrawal struct {
	*scene
	permission
	tweaks []func(*consumer.Config)
	member *member
	wrote  []*kgo.Record
}

// areWithdrawn takes permissions away from members that work, and gives them back
// after a while. Each has a scene of its own.
func areWithdrawn(t *testing.T, principal string, away time.Duration, all ...*withdrawal) {
	t.Helper()
	for _, w := range all {
		w.member = w.join(t, w.tweaks...)
		w.wrote = w.withPoison(t, "before", 100)
		w.committed(t, 102)
	}
	for _, w := range all {
		w.Forbid(t, principal, w.Permission)
		w.wrote = append(w.wrote, w.withPoison(t, "meanwhile", 100)...)
	}
	for _, w := range all {
		await(t, "a log line that says "+w.words, func() bool { return w.member.log.has(w.words) })
	}
	<-time.After(away) // in a bubble virtual
	for _, w := range all {
		select {
		case <-w.member.done:
			t.Fatalf("the member ended: %v", w.member.err)
		default:
		}
		w.Allow(t, principal, w.Permission)
		w.wrote = append(w.wrote, w.withPoison(t, "after", 100)...)
	}
	for _, w := range all {
		w.committed(t, 306)
		for line := range strings.Lines(w.member.log.String()) {
			if strings.Contains(line, w.words) && !strings.Contains(line, "level=ERROR") {
				t.Errorf("not an error: %s", line)
			}
		}
		w.member.leave(t)
		w.judge(t, w.wrote, 0)
		if n := len(w.ReadAll(t, w.dlq())); n != 6 {
			t.Errorf("%d dead letters, want 6", n)
		}
	}
}

// The dead-letter topic is created as it has to be, whoever of several members is
// first.
func TestTheDeadLetterTopicIsCreated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := setVirtual(t, 5, kafkatest.Brokers(3))
		s.DeleteTopic(t, s.dlq())
		creates := func(c *consumer.Config) { c.CreateDeadLetter = true }
		members := []*member{s.join(t, creates), s.join(t, creates), s.join(t, creates)}
		records := s.withPoison(t, "r", 100)
		s.committed(t, 105)
		created := 0
		for _, m := range members {
			s.WaitGroup(t, s.group, len(members))
			if m.log.has("created the dead-letter topic") {
				created++
			}
			m.leave(t)
			members = members[1:]
		}
		if created != 1 {
			t.Errorf("%d members say that they created it", created)
		}
		s.judge(t, records, 0)
		if n := len(s.ReadAll(t, s.dlq())); n != 5 {
			t.Errorf("%d dead letters, want 5", n)
		}
		s.expectDeadLetterTopic(t)
	})
}

// expectDeadLetterTopic requires what the program creates.
func (s *scene) expectDeadLetterTopic(t *testing.T) {
	t.Helper()
	if n := len(s.EndOffsets(t, s.dlq())); n != int(s.partitions) {
		t.Errorf("%d partitions, want %d as the source", n, s.partitions)
	}
	if got := s.TopicConfig(t, s.dlq(), "cleanup.policy"); got != "delete" {
		t.Errorf("cleanup.policy=%s", got)
	}
}

// Brokers that do not let the topic be created are waited for if they may come
// to: else the start fails and says what to do.
func TestADeadLetterTopicThatMayNotBeCreated(t *testing.T) {
	creates := func(c *consumer.Config) { c.CreateDeadLetter = true }
	t.Run("no permission", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := guarded(t, 1)
			for _, p := range s.permissions() {
				s.Allow(t, principal, p.Permission)
			}
			s.DeleteTopic(t, s.dlq())
			m := s.join(t, plainUser(t), creates)
			words := "allow CREATE on topic " + s.dlq() + ", or create it yourself"
			await(t, words, func() bool { return m.log.has(words) })
			s.Allow(t, principal, kafkatest.Permission{Operation: kadm.OpCreate, Topics: []string{s.dlq()}})
			m.running(t, 1)
			m.leave(t)
			s.expectDeadLetterTopic(t)
		})
	})
	t.Run("a policy", func(t *testing.T) {
		virtually(t, 1, func(t *testing.T, s *scene) {
			s.DeleteTopic(t, s.dlq())
			s.Fake().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.CreateTopics}, Err: kerr.PolicyViolation, Count: -1})
			expectWords(t, s.join(t, creates).refusal(t), "dead_letter.create: the brokers refuse to create topic ", s.dlq(), "Policy Violation", "create it yourself")
		})
	})
	t.Run("a controller that is elected", func(t *testing.T) {
		virtually(t, 1, func(t *testing.T, s *scene) {
			s.DeleteTopic(t, s.dlq())
			s.Fake().Fault(kfake.Fault{Keys: []kmsg.Key{kmsg.CreateTopics}, Err: kerr.NotController, Count: 3})
			m := s.join(t, creates)
			m.running(t, 1)
			m.leave(t)
			s.expectDeadLetterTopic(t)
		})
	})
	t.Run("no source topic", func(t *testing.T) {
		virtually(t, 1, func(t *testing.T, s *scene) {
			s.DeleteTopic(t, s.dlq())
			s.topic = "a.topic"
			expectWords(t, s.join(t, creates).refusal(t), `kafka.topic: topic "a.topic" does not exist`, `dead_letter.topic: topic "a.topic.dlq" does not exist`)
		})
	})
}
