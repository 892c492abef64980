package main

import (
	"testing"

	"signup-sheet/consumer/signup"
)

func TestLoadsAreWhatTheySay(t *testing.T) {
	decoder := signup.NewDecoder(signup.Limits{})
	for _, c := range []struct {
		load           load
		poison         int
		onUser         int // at least, records of the first user
		shortest, most int // bytes of a value that is good
	}{
		{load{records: 5000}, 0, 0, 290, 400},
		{load{records: 5000, poisonEvery: 100}, 50, 0, 290, 400},
		{load{records: 2000, spareEvery: 20}, 0, 1900, 290, 400},
		{load{records: 10, bytes: 1<<20 - 4096}, 0, 0, 1<<20 - 4096, 1<<20 - 4096},
	} {
		poison, onUser, total := 0, 0, 0
		keys, ids := map[string]bool{}, map[string]bool{}
		for r := range c.load.all() {
			total++
			keys[string(r.Key)] = true
			if string(r.Key) == "user-000000" {
				onUser++
			}
			s, err := decoder.Decode(signup.Record{Value: r.Value})
			if err != nil {
				poison++
				continue
			}
			ids[s.EventID] = true
			if n := len(r.Value); n < c.shortest || n > c.most {
				t.Errorf("%+v: a value of %d bytes", c.load, n)
			}
		}
		if total != c.load.records || poison != c.poison || c.load.poison() != poison || c.load.good() != total-poison || len(ids) != total-poison {
			t.Errorf("%+v: %d records, %d of them poison, %d event ids", c.load, total, poison, len(ids))
		}
		if onUser < c.onUser {
			t.Errorf("%+v: %d records of one user", c.load, onUser)
		}
		if c.onUser == 0 && len(keys) < total/2 {
			t.Errorf("%+v: %d keys", c.load, len(keys))
		}
	}
}
