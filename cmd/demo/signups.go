package main

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"signup-sheet/consumer/signup"
)

// kind is what should become of a record.
type kind string

const (
	fresh     kind = "signup"           // a row
	again     kind = "signup, repeated" // accepted, but no new row: the event was published before
	poison    kind = "poison"           // a dead letter
	tombstone kind = "tombstone"        // nothing
)

// record is what is published, and what is expected of it.
type record struct {
	kind       kind
	key, value []byte       // nil is Kafka's null
	id         string       // the event's own id, empty for none
	class      signup.Class // of the dead letter
	flaw       string       // what is wrong with poison
}

// The rhythm of the unusual, in records: one poison and one repetition in a hundred, one tombstone in 250.
const (
	poisonAt    = 20
	originalAt  = 30 // published again at againAt
	againAt     = 60
	tombstoneAt = 40
	period      = 100
	tombstones  = 250
)

// generator makes an endless stream of signups. The same seed and clock give the same stream.
type generator struct {
	now      func() time.Time
	bytes    *rand.ChaCha8
	rand     *rand.Rand
	users    []user
	simple   bool // neither repeated signups nor tombstones
	clean    bool // simple, and no poison
	made     int
	original record // what is published again
}

// user is the owner of a key, under which several events are published.
type user struct {
	key, email string
	person     person
}

func newGenerator(seed uint64, now func() time.Time) *generator {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[:], seed)
	source := rand.NewChaCha8(key)
	g := &generator{now: now, bytes: source, rand: rand.New(source)}
	everybody := people()
	for i := range 400 {
		p := everybody[g.rand.IntN(len(everybody))]
		g.users = append(g.users, user{
			key:    fmt.Sprintf("user-%06d", 100_000+i),
			email:  fmt.Sprintf("%s%d@%s", p.address, i, pick(g.rand, "mail.example", "post.example", "firma.example.org", "co.example.net")),
			person: p,
		})
	}
	return g
}

// next returns the record to publish next.
func (g *generator) next() record {
	i := g.made
	g.made++
	switch {
	case i%tombstones == tombstoneAt && !g.simple && !g.clean:
		return record{kind: tombstone, key: []byte(g.user().key)}
	case i%period == poisonAt && !g.clean:
		return g.poison(i / period)
	case i%period == againAt && !g.simple && !g.clean:
		r := g.original
		r.kind = again
		return r
	}
	e := g.event(i%period == originalAt || g.rand.IntN(8) > 0)
	r := record{kind: fresh, key: e.key(g.rand), value: e.encode(), id: e.id}
	if i%period == originalAt {
		g.original = r
	}
	return r
}

func (g *generator) user() user { return g.users[g.rand.IntN(len(g.users))] }

// event is a signup as a careful publisher would send it. Empty fields are left out.
type event struct {
	user                                                 user
	id, email, name, plan, source, campaign, country, at string
	metadata                                             jsontext.Value
}

func (g *generator) event(withID bool) event {
	u := g.user()
	e := event{
		user:     u,
		email:    u.email,
		name:     u.person.name,
		plan:     pick(g.rand, "free", "free", "", "pro", "team", "enterprise"),
		source:   pick(g.rand, "website", "", "mobile_app", "referral", "partner"),
		campaign: pick(g.rand, "", "", "spring_2026", "black-friday", "newsletter/42", "größer & besser"),
		country:  u.person.country,
		at:       g.now().UTC().Format(time.RFC3339Nano),
		metadata: g.metadata(),
	}
	if withID {
		id, _ := uuid.NewRandomFromReader(g.bytes) // a ChaCha8 never fails
		e.id = id.String()
	}
	switch g.rand.IntN(12) {
	case 0:
		e.name = ""
	case 1:
		e.email = " " + e.email + "\t" // forms do that
	case 2:
		e.at = ""
	case 3:
		e.country = ""
	}
	return e
}

// metadata returns nothing, or an object that does not survive a careless conversion: numbers above 2^53, digits after
// the point, nesting, characters that HTML escapes.
func (g *generator) metadata() jsontext.Value {
	switch g.rand.IntN(4) {
	case 0:
		return nil
	case 1:
		return jsontext.Value(`{}`)
	case 2:
		return fmt.Appendf(nil, `{"session":%d,"score":%d.50,"tags":["beta","<b>"]}`, 1<<53+g.rand.Int64N(1<<60), g.rand.IntN(100))
	default:
		return fmt.Appendf(nil, `{"device":{"os":%q,"screen":[%d,1080],"touch":false},"referrer":"https://example.com/?a=1&b=%d","account":{"id":%d000000000000000000}}`,
			pick(g.rand, "android", "ios", "linux"), 1280+g.rand.IntN(1280), g.rand.IntN(10), 1+g.rand.IntN(9))
	}
}

// key is the user's id, and in one of fifty events null.
func (e event) key(r *rand.Rand) []byte {
	if r.IntN(50) == 0 {
		return nil
	}
	return []byte(e.user.key)
}

func (e event) encode() []byte {
	b := []byte{'{'}
	member := func(name string, value jsontext.Value) {
		if len(value) == 0 {
			return
		}
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = append(append(append(b, quote(name)...), ':'), value...)
	}
	for _, m := range [][2]string{
		{"id", e.id},
		{"email", e.email},
		{"name", e.name},
		{"plan", e.plan},
		{"source", e.source},
		{"utm_campaign", e.campaign},
		{"country_id", e.country},
		{"timestamp", e.at},
	} {
		if m[1] != "" {
			member(m[0], quote(m[1]))
		}
	}
	member("metadata", e.metadata)
	return append(b, '}')
}

// quote returns a string of valid UTF-8 as JSON.
func quote(s string) jsontext.Value {
	b, _ := jsontext.AppendQuote(nil, s) // fails for invalid UTF-8 alone
	return b
}

func pick(r *rand.Rand, of ...string) string { return of[r.IntN(len(of))] }
