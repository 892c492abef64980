package main

import (
	"bytes"
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"signup-sheet/consumer/signup"
)

func noon() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

func generate(seed uint64, n int) []record {
	g := newGenerator(seed, noon)
	records := make([]record, n)
	for i := range records {
		records[i] = g.next()
	}
	return records
}

// decode returns the signup in a record as the consumer does.
func decode(t *testing.T, d *signup.Decoder, offset int, value []byte) (*signup.Signup, *signup.Poison) {
	t.Helper()
	s, err := d.Decode(signup.Record{Topic: topic, Offset: int64(offset), Time: noon(), Value: value})
	if err == nil {
		return s, nil
	}
	poison, ok := errors.AsType[*signup.Poison](err)
	if !ok {
		t.Fatalf("record %d: %v", offset, err)
	}
	return nil, poison
}

func TestTheConsumerFindsInEveryRecordWhatIsExpectedOfIt(t *testing.T) {
	d := signup.NewDecoder(signup.Limits{})
	ids := map[string]bool{}
	for i, r := range generate(1, 10_000) {
		if r.kind == tombstone {
			if r.value != nil || r.key == nil {
				t.Errorf("record %d: a tombstone with key %q and value %q", i, r.key, r.value)
			}
			continue
		}
		s, poisoned := decode(t, d, i, r.value)
		switch {
		case r.kind == poison && (poisoned == nil || poisoned.Class != r.class):
			t.Errorf("record %d (%s): %v, want class %s", i, r.flaw, poisoned, r.class)
		case r.kind != poison && poisoned != nil:
			t.Errorf("record %d: %v", i, poisoned)
		case r.kind == fresh && r.id != "" && (s.EventID != r.id || ids[r.id]):
			t.Errorf("record %d: event id %s, want %s and no other", i, s.EventID, r.id)
		case r.kind == fresh && r.id == "" && s.EventID != signup.EventID(topic, 0, int64(i), noon()):
			t.Errorf("record %d: event id %s", i, s.EventID)
		case r.kind == again && !ids[r.id]:
			t.Errorf("record %d: event id %s was not published before", i, r.id)
		}
		ids[r.id] = r.id != ""
	}
}

func TestEveryFlawIsPoisonInEveryEvent(t *testing.T) {
	d := signup.NewDecoder(signup.Limits{})
	g := newGenerator(2, noon)
	for _, f := range flaws() {
		for i := range 200 {
			value := f.spoil(g.event(true))
			if _, poisoned := decode(t, d, i, value); poisoned == nil || poisoned.Class != f.class {
				t.Fatalf("%s: %v, want class %s, of %s", f.name, poisoned, f.class, value)
			}
		}
	}
}

func TestAFloodIsOfRecordsThatCannotBeDecoded(t *testing.T) {
	d := signup.NewDecoder(signup.Limits{})
	g := newGenerator(2, noon)
	seen := map[string]bool{}
	for i := range floodRecords {
		r := g.undecodable(i)
		if _, poisoned := decode(t, d, i, r.value); r.kind != poison || poisoned == nil || poisoned.Class != signup.Undecodable {
			t.Fatalf("%s: %v", r.flaw, poisoned)
		}
		seen[r.flaw] = true
	}
	if len(seen) < 5 {
		t.Errorf("only %d flaws", len(seen))
	}
}

func TestAThousandSignupsHaveSomeOfEverything(t *testing.T) {
	kinds, flawsSeen, keys := map[kind]int{}, map[string]int{}, map[string]int{}
	withoutID, withoutKey := 0, 0
	for _, r := range generate(1, 1000) {
		kinds[r.kind]++
		keys[string(r.key)]++
		switch {
		case r.kind == poison:
			flawsSeen[r.flaw]++
		case r.kind == fresh && r.id == "":
			withoutID++
		}
		if r.key == nil {
			withoutKey++
		}
	}
	if kinds[poison] != 10 || kinds[again] != 10 || kinds[tombstone] != 4 || kinds[fresh] != 976 {
		t.Errorf("kinds %v", kinds)
	}
	if len(flawsSeen) != 10 || withoutID < 50 || withoutKey < 5 || len(keys) > 401 {
		t.Errorf("%d flaws, %d without id, %d without key, %d keys", len(flawsSeen), withoutID, withoutKey, len(keys))
	}
}

func TestALiveDemoPublishesSignupsAndPoisonOnlyAndAWebhookGetsNoPoison(t *testing.T) {
	for name, want := range map[string]map[kind]int{
		"simple": {fresh: 990, poison: 10},
		"clean":  {fresh: 1000},
	} {
		g := newGenerator(1, noon)
		g.simple, g.clean = name == "simple", name == "clean"
		kinds := map[kind]int{}
		for range 1000 {
			kinds[g.next().kind]++
		}
		if !maps.Equal(kinds, want) {
			t.Errorf("%s: %v, want %v", name, kinds, want)
		}
	}
}

func TestTheSameSeedMakesTheSameSignups(t *testing.T) {
	same := func(a, b record) bool {
		return bytes.Equal(a.value, b.value) && bytes.Equal(a.key, b.key) && a.kind == b.kind
	}
	one := generate(7, 500)
	if !slices.EqualFunc(one, generate(7, 500), same) {
		t.Error("the same seed made others")
	}
	if slices.EqualFunc(one, generate(8, 500), same) {
		t.Error("another seed made the same")
	}
}
