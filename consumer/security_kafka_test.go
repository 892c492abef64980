package consumer_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/segmentio/kafka-go/sasl"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"signup-sheet/consumer"
	"signup-sheet/consumer/auth"
	"signup-sheet/credentials"
	"signup-sheet/internal/certificates"
	"signup-sheet/internal/kafkatest"
)

// at is the tweak that names the broker by one of its secured addresses.
func at(address string) func(*consumer.Config) {
	return func(c *consumer.Config) { c.Brokers = []string{address} }
}

// token is an unsigned JSON web token for a user, as brokers take them in tests.
func token(user string, valid time.Duration) string {
	now := time.Now()
	claims := fmt.Sprintf(`{"sub":%q,"iat":%d,"exp":%d}`, user, now.Unix(), now.Add(valid).Unix())
	return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims)) + "."
}

// tokenServer hands out tokens of some seconds to the client signup with the
// secret client-secret, and counts them.
func tokenServer(t *testing.T, seconds int) (sasl.Mechanism, *atomic.Int64) {
	t.Helper()
	var issued atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if id, secret, _ := r.BasicAuth(); id != "signup" || secret != "client-secret" {
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(w, `{"error":"invalid_client"}`)
			return
		}
		issued.Add(1)
		fmt.Fprintf(w, `{"access_token":%q,"token_type":"Bearer","expires_in":%d}`, token("signup", time.Duration(seconds)*time.Second), seconds)
	}))
	t.Cleanup(server.Close)
	return auth.ClientCredentials{TokenURL: server.URL, ClientID: "signup", ClientSecret: newSecretFile(t, "client-secret").read}.Login(), &issued
}

// Hazard 27: what only a real broker can show of secured connections, of the ends
// of logins among it. It is one test because it is one broker.
func TestASecuredApacheKafka(t *testing.T) {
	const reauthenticate = "connections.max.reauth.ms=5000"
	broker := kafkatest.StartSecured(t,
		"listener.name.sasl_ssl.scram-sha-256."+reauthenticate, "listener.name.sasl_ssl.oauthbearer."+reauthenticate)
	dir := t.TempDir()
	trust := credentials.Files{Authorities: certificates.Write(t, dir, "ca.crt", broker.Authority.PEM)}
	password := func(t *testing.T) auth.Secret {
		t.Helper()
		return newSecretFile(t, "signup-secret").read
	}
	// play prepares a topic that the principal may use.
	play := func(t *testing.T, principal string) *scene {
		t.Helper()
		s := setOn(t, broker.Cluster, 2)
		for _, p := range s.permissions() {
			s.Allow(t, principal, p.Permission)
		}
		return s
	}
	certified := func(t *testing.T, pair certificates.Pair) (credentials.Files, func(certificates.Pair)) {
		t.Helper()
		files, dir := trust, t.TempDir()
		put := func(pair certificates.Pair) {
			files.Certificate = certificates.Write(t, dir, "tls.crt", pair.Certificate)
			files.Key = certificates.Write(t, dir, "tls.key", pair.Key)
		}
		put(pair)
		return files, put
	}
	bearer := func(t *testing.T) sasl.Mechanism {
		t.Helper()
		return auth.OAuthBearer(newSecretFile(t, token("signup", time.Hour)).read)
	}

	t.Run("every way in", func(t *testing.T) {
		for name, way := range map[string]func(t *testing.T) []func(*consumer.Config){
			"PLAIN without TLS": func(t *testing.T) []func(*consumer.Config) {
				return []func(*consumer.Config){at(broker.SASLPlaintext), logsIn(auth.Plain("signup", password(t)))}
			},
			"PLAIN": func(t *testing.T) []func(*consumer.Config) {
				return []func(*consumer.Config){at(broker.SASLSSL), encrypts(trust), logsIn(auth.Plain("signup", password(t)))}
			},
			"SCRAM-SHA-256": func(t *testing.T) []func(*consumer.Config) {
				return []func(*consumer.Config){at(broker.SASLSSL), encrypts(trust), logsIn(auth.SCRAM256("signup", password(t)))}
			},
			"SCRAM-SHA-512": func(t *testing.T) []func(*consumer.Config) {
				return []func(*consumer.Config){at(broker.SASLSSL), encrypts(trust), logsIn(auth.SCRAM512("signup", password(t)))}
			},
			"a token in a file": func(t *testing.T) []func(*consumer.Config) {
				return []func(*consumer.Config){at(broker.SASLSSL), encrypts(trust), logsIn(bearer(t))}
			},
			"client credentials": func(t *testing.T) []func(*consumer.Config) {
				tokens, _ := tokenServer(t, 3600)
				return []func(*consumer.Config){at(broker.SASLSSL), encrypts(trust), logsIn(tokens)}
			},
			"mutual TLS": func(t *testing.T) []func(*consumer.Config) {
				files, _ := certified(t, broker.Authority.Issue(t, "signup"))
				return []func(*consumer.Config){at(broker.SSL), encrypts(files)}
			},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				user := principal
				if name == "mutual TLS" {
					user = "User:CN=signup"
				}
				s := play(t, user)
				m := s.join(t, way(t)...)
				records := s.withPoison(t, "r", 100)
				s.committed(t, 102)
				if n := len(s.ReadAll(t, s.dlq())); n != 2 {
					t.Errorf("%d dead letters, want 2", n)
				}
				m.leave(t)
				s.judge(t, records, 0)
			})
		}
	})

	t.Run("every wrong way in", func(t *testing.T) {
		stranger, _ := certified(t, certificates.NewAuthority(t).Issue(t, "signup"))
		old, _ := certified(t, broker.Authority.Issue(t, "signup", certificates.Expired))
		wrong := newSecretFile(t, "S3CR3T").read
		expired := newSecretFile(t, token("signup", -time.Hour)).read
		for name, tc := range map[string]struct {
			address string
			tweaks  []func(*consumer.Config)
			want    []string
		}{
			"a wrong password": {
				broker.SASLSSL,
				[]func(*consumer.Config){encrypts(trust), logsIn(auth.Plain("signup", wrong))},
				[]string{"SASL PLAIN: the broker refuses the login: ", "Invalid username or password", "check kafka.sasl.username and kafka.sasl.password_file"},
			},
			"a wrong password with SCRAM": {
				broker.SASLPlaintext,
				[]func(*consumer.Config){logsIn(auth.SCRAM512("signup", wrong))},
				[]string{"SASL SCRAM-SHA-512: the broker refuses the login: ", "invalid credentials", "check kafka.sasl.username and kafka.sasl.password_file"},
			},
			"an expired token": {
				broker.SASLPlaintext,
				[]func(*consumer.Config){logsIn(auth.OAuthBearer(expired))},
				[]string{"SASL OAUTHBEARER: the broker refuses the login: ", "invalid_token", "check the token: kafka.sasl.token_file"},
			},
			"no login":                     {broker.SASLPlaintext, nil, []string{"the broker closed the connection", "kafka.sasl.mechanism"}},
			"a login where there is none":  {broker.Addrs()[0], []func(*consumer.Config){logsIn(auth.Plain("signup", wrong))}, []string{"there is no SASL at this port"}},
			"no TLS to a port with":        {broker.SSL, nil, []string{"the port speaks TLS: set kafka.tls.enabled"}},
			"a login without TLS":          {broker.SASLSSL, []func(*consumer.Config){logsIn(auth.Plain("signup", wrong))}, []string{"the port speaks TLS: set kafka.tls.enabled"}},
			"TLS to a port without":        {broker.SASLPlaintext, []func(*consumer.Config){encrypts(trust)}, []string{"does the port not speak TLS?"}},
			"no certificate":               {broker.SSL, []func(*consumer.Config){encrypts(trust)}, []string{"set kafka.tls.certificate_file and kafka.tls.key_file"}},
			"a stranger's certificate":     {broker.SSL, []func(*consumer.Config){encrypts(stranger)}, []string{"check kafka.tls.certificate_file"}},
			"a certificate that has ended": {broker.SSL, []func(*consumer.Config){encrypts(old)}, []string{"check kafka.tls.certificate_file"}},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				s := &scene{Cluster: broker.Cluster, topic: "any", group: "any", url: "http://127.0.0.1:1"}
				m := s.join(t, append(tc.tweaks, at(tc.address))...)
				m.expectTrouble(t, tc.want...)
				if m.log.has("S3CR3T") {
					t.Error("the secret is in the log")
				}
				m.leave(t)
			})
		}
	})

	t.Run("while it runs", func(t *testing.T) {
		t.Run("another certificate", func(t *testing.T) {
			t.Parallel()
			s := play(t, "User:CN=first")
			files, put := certified(t, broker.Authority.Issue(t, "first"))
			var cord cord
			m := s.join(t, at(broker.SSL), encrypts(files), cord.on)
			records := s.withPoison(t, "before", 100)
			s.committed(t, 102)
			put(broker.Authority.Issue(t, "second"))
			for _, p := range s.permissions() {
				s.Allow(t, "User:CN=second", p.Permission)
				s.Forbid(t, "User:CN=first", p.Permission)
			}
			cord.cut()
			records = append(records, s.withPoison(t, "after", 100)...)
			s.committed(t, 204)
			m.leave(t)
			s.judge(t, records, 0)
		})
		t.Run("logins and tokens that end", func(t *testing.T) {
			t.Parallel()
			file := newSecretFile(t, token("signup", 8*time.Second))
			tokens, issued := tokenServer(t, 5)
			others, _ := tokenServer(t, 5)
			file.keep(t, func() string { return token("signup", 8*time.Second) })
			goOn(t, map[string]*traffic{
				"passwords":                         {scene: play(t, principal), tweaks: []func(*consumer.Config){at(broker.SASLSSL), encrypts(trust), logsIn(auth.SCRAM256("signup", password(t)))}},
				"tokens in a file":                  {scene: play(t, principal), tweaks: []func(*consumer.Config){at(broker.SASLSSL), encrypts(trust), logsIn(auth.OAuthBearer(file.read))}},
				"tokens by client credentials":      {scene: play(t, principal), tweaks: []func(*consumer.Config){at(broker.SASLSSL), encrypts(trust), logsIn(tokens)}},
				"where brokers do not limit logins": {scene: play(t, principal), tweaks: []func(*consumer.Config){at(broker.SASLPlaintext), logsIn(others)}},
			})
			if n := issued.Load(); n < 3 {
				t.Errorf("%d tokens by client credentials, want one every 4 s", n)
			}
		})
		t.Run("permissions that are withdrawn", func(t *testing.T) {
			t.Parallel()
			var all []*withdrawal
			for _, withdrawn := range []string{"topic", "group", "dead letter"} {
				s := play(t, principal)
				all = append(all, &withdrawal{
					scene: s, permission: s.permissions()[withdrawn],
					tweaks: []func(*consumer.Config){at(broker.SASLPlaintext), logsIn(auth.Plain("signup", password(t)))},
				})
			}
			areWithdrawn(t, principal, 5*time.Second, all...)
		})
	})

	// Alone, because the password and the cluster's producer are those of all.
	t.Run("another password", func(t *testing.T) {
		play(t, principal).passwordChanges(t, at(broker.SASLSSL), encrypts(trust))
	})
	t.Run("the dead-letter topic is created", func(t *testing.T) {
		s := play(t, principal)
		s.DeleteTopic(t, s.dlq())
		m := s.join(t, at(broker.SASLPlaintext), logsIn(auth.Plain("signup", password(t))), func(c *consumer.Config) { c.CreateDeadLetter = true })
		words := "allow CREATE on topic " + s.dlq()
		await(t, words, func() bool { return m.log.has(words) })
		s.Allow(t, principal, kafkatest.Permission{Operation: kadm.OpCreate, Topics: []string{s.dlq()}})
		records := s.withPoison(t, "r", 100)
		s.committed(t, 102)
		m.leave(t)
		s.judge(t, records, 0)
		s.expectDeadLetterTopic(t)
	})
}

// traffic is a member that has something to do all the time.
type traffic struct {
	*scene
	tweaks     []func(*consumer.Config)
	member     *member
	generation int32
	wrote      []*kgo.Record
}

// goOn requires that nothing is to be seen of the ends of logins, for longer than
// two count.
func goOn(t *testing.T, all map[string]*traffic) {
	t.Helper()
	for _, one := range all {
		one.member = one.join(t, one.tweaks...)
		one.member.running(t, int(one.partitions))
		one.generation = one.member.Status().Generation
	}
	began := time.Now()
	for i := 0; time.Since(began) < 11*time.Second; i++ {
		for name, one := range all {
			wrote := time.Now()
			one.wrote = append(one.wrote, one.withPoison(t, fmt.Sprintf("s%d", i), 10)...)
			one.delivered(t, len(one.wrote))
			if d := time.Since(wrote); d > 2*time.Second+one.stall() {
				t.Errorf("%s: %v of silence", name, d)
			}
		}
		<-time.After(100 * time.Millisecond) // the members' time goes on beside it
	}
	for name, one := range all {
		one.committed(t, int64(len(one.wrote)+len(one.wrote)/10*int(one.partitions)))
		if g := one.member.Status().Generation; g != one.generation {
			t.Errorf("%s: generation %d became %d", name, one.generation, g)
		}
		one.member.leave(t)
		one.judge(t, one.wrote, 0)
	}
}
