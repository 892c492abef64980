package main

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// load is what a topic holds. The same load is the same records, byte for byte.
type load struct {
	records     int
	poisonEvery int // one record in so many cannot be decoded; 0: none
	spareEvery  int // one record in so many has its user's key, all others that of one user; 0: all have their user's
	bytes       int // of each value; 0: as long as signups are, some 330
}

// users is the number of keys.
const users = 10_000

// poison is the number of records that cannot be decoded.
func (l load) poison() int {
	if l.poisonEvery == 0 {
		return 0
	}
	return l.records / l.poisonEvery
}

// good is the number of records that become rows.
func (l load) good() int { return l.records - l.poison() }

// all yields the records. A user has a key, a name and a country; everything else is another in each event.
func (l load) all() iter.Seq[*kgo.Record] {
	return func(yield func(*kgo.Record) bool) {
		rnd := rand.New(rand.NewPCG(1, 2))
		for i := range l.records {
			u := rnd.IntN(users)
			if l.spareEvery > 0 && i%l.spareEvery != 0 {
				u = 0
			}
			value := l.event(rnd, i, u)
			if l.poisonEvery > 0 && i%l.poisonEvery == l.poisonEvery-1 {
				value = value[:len(value)/2]
			}
			if !yield(&kgo.Record{Key: fmt.Appendf(nil, "user-%06d", u), Value: value}) {
				return
			}
		}
	}
}

func (l load) event(rnd *rand.Rand, i, u int) []byte {
	p := personOf(u)
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(i) * 37 * time.Millisecond)
	pick := func(of ...string) string { return of[rnd.IntN(len(of))] }
	b := fmt.Appendf(make([]byte, 0, 400),
		`{"id":"%08x-%04x-4%03x-8%03x-%012x","email":"%s.%s%d@%s","name":"%s %s","plan":"%s","source":"%s","utm_campaign":"%s","country_id":"%s","timestamp":"%s",`+
			`"metadata":{"session":%d,"referrer":"https://example.com/?ref=%d","screen":[%d,1080]`,
		rnd.Uint32(), rnd.IntN(1<<16), rnd.IntN(1<<12), rnd.IntN(1<<12), rnd.Int64N(1<<48),
		strings.ToLower(p.first), strings.ToLower(p.last), u, pick("mail.example", "post.example", "firma.example.org"),
		p.first, p.last, pick("free", "pro", "team"), pick("website", "mobile_app", "referral"), pick("spring_2026", "black-friday", "newsletter"),
		p.country, at.Format(time.RFC3339Nano), rnd.Int64N(1<<53), rnd.IntN(100), 1280+rnd.IntN(1280))
	if missing := l.bytes - len(b) - len(`,"note":""}}`); missing > 0 {
		b = fmt.Appendf(b, `,"note":"%s"`, strings.Repeat("x", missing))
	}
	return append(b, "}}"...)
}

// person is what a user is called.
type person struct{ first, last, country string }

// personOf gives everybody one of some fifty first names and a country that goes with it, so that the ages of all are soon known.
func personOf(user int) person {
	names := []struct{ country, first, last string }{
		{"US", "Michael Emma James Olivia Ethan Ava", "Brown Johnson Miller Davis"},
		{"GB", "Oliver Amelia Harry Isla George Poppy", "Smith Taylor Evans Walker"},
		{"DE", "Lukas Mia Felix Hannah Jonas Käthe", "Müller Schmidt Weber Fischer"},
		{"FR", "Louis Chloé François Manon Hugo Inès", "Dubois Lefèvre Moreau Laurent"},
		{"ES", "José Lucía Pablo María Diego Carmen", "García Fernández López Ruiz"},
		{"BR", "João Beatriz Pedro Júlia Rafael Larissa", "Silva Santos Oliveira Souza"},
		{"IN", "Aarav Priya Arjun Ananya Rohan Diya", "Patel Sharma Singh Gupta"},
		{"PL", "Jakub Zofia Antoni Maja Łukasz Hanna", "Nowak Kowalski Wiśniewski Lewandowski"},
	}
	n := names[user%len(names)]
	user /= len(names)
	first, last := strings.Fields(n.first), strings.Fields(n.last)
	return person{first: first[user%len(first)], last: last[user/len(first)%len(last)], country: n.country}
}
