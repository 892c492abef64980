package chaos_test

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// kind is what must become of a record.
type kind string

const (
	good      kind = "row"
	poison    kind = "poison"    // a dead letter, never sent
	refused   kind = "refused"   // sent, then a dead letter
	tombstone kind = "tombstone" // neither
)

// spot is where a record is.
type spot struct {
	partition int32
	offset    int64
}

// record is one that was published.
type record struct {
	spot
	ref  string // in its metadata, so that its row can be recognised whatever its event id is
	id   string // its own event id; "" if the program has to make one
	key  []byte // nil: no order
	kind kind
}

// oracle writes down what is seen from outside, in the order in which it was seen, and judges it at the end. Its methods
// may be called from any goroutine.
type oracle struct {
	lease        time.Duration // how long a member may send after a commit of its landed
	slack        time.Duration // between the start of an attempt and its arrival, at most
	knowsSenders bool          // it is known whose a commit is

	mu      sync.Mutex
	began   time.Time
	seq     int
	records []record
	sends   []*send
	commits []commit
	letters map[spot][]moment
	cuts    []cut                  // records removed by retention
	faults  []*fault               // what a member cannot help
	members map[string]string      // by their ids in the group
	begins  map[string][]time.Time // of a member's sessions
	story   []string
	stalled bool
	aloud   bool // the story is printed as it goes
}

// moment is when something was seen: by the clock, which is a broker's where seq is 0 and then has milliseconds, and in
// order.
type moment struct {
	seq int
	at  time.Time
}

func (m moment) before(n moment) bool {
	if m.seq > 0 && n.seq > 0 {
		return m.seq < n.seq
	}
	return !m.at.Truncate(time.Millisecond).After(n.at)
}

// send is a request that came to the webhook.
type send struct {
	moment
	member   string
	ref, id  string
	accepted *moment
	misled   bool // it was accepted, and the sender was not told
	refused  bool // the endpoint said that the row is bad
}

// commit is what a member asked the coordinator to commit of one partition, completions included.
type commit struct {
	moment
	memberID  string
	partition int32
	offset    int64
	done      []run
	landed    bool // the coordinator took it
}

type run struct{ from, to int64 }

func (c *commit) covers(offset int64) bool {
	return offset < c.offset || slices.ContainsFunc(c.done, func(r run) bool { return r.from <= offset && offset < r.to })
}

// cut is records of a partition that were removed before an offset.
type cut struct {
	moment
	partition int32
	before    int64
}

// fault is a time in which members may be unable to commit what was accepted, and after which it may be sent again.
type fault struct {
	what     string
	member   string // "": all
	from, to time.Time
}

// standsStill is the fault of a process that was paused, or of all when the machine was.
const standsStill = "stands still"

func newOracle(lease time.Duration, knowsSenders bool) *oracle {
	return &oracle{lease: lease, slack: 500 * time.Millisecond, knowsSenders: knowsSenders, began: time.Now(), aloud: os.Getenv("CHAOS_SEED") != "", letters: map[spot][]moment{}, members: map[string]string{}, begins: map[string][]time.Time{}}
}

// now is the next moment. The oracle's mutex is held.
func (o *oracle) now() moment {
	o.seq++
	return moment{o.seq, time.Now()}
}

// tell adds a line to the story.
func (o *oracle) tell(format string, args ...any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	line := fmt.Sprintf("%8.3f  ", time.Since(o.began).Seconds()) + fmt.Sprintf(format, args...)
	o.story = append(o.story, line)
	if o.aloud {
		fmt.Fprintln(os.Stderr, line)
	}
}

// published adds records whose places are known.
func (o *oracle) published(records ...record) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.records = append(o.records, records...)
}

// came notes a request that came to the webhook.
func (o *oracle) came(member, ref, id string) *send {
	o.mu.Lock()
	defer o.mu.Unlock()
	s := &send{moment: o.now(), member: member, ref: ref, id: id}
	o.sends = append(o.sends, s)
	return s
}

// accepted notes that the row of a request is in the sheet, before the sender can know.
func (o *oracle) accepted(s *send) {
	o.mu.Lock()
	defer o.mu.Unlock()
	m := o.now()
	s.accepted = &m
}

// misled notes that the sender was not told that its row was accepted.
func (o *oracle) misled(s *send) {
	o.mu.Lock()
	defer o.mu.Unlock()
	s.misled = true
}

// refuses notes that the sender was told that the row is bad.
func (o *oracle) refuses(s *send) {
	o.mu.Lock()
	defer o.mu.Unlock()
	s.refused = true
}

// committed notes commits, in their order for each partition. They come now, unless they say when.
func (o *oracle) committed(commits ...commit) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, c := range commits {
		if c.at.IsZero() {
			c.moment = o.now()
		}
		o.commits = append(o.commits, c)
	}
}

// lettered notes a dead letter of the record at a place, appended at a time.
func (o *oracle) lettered(at spot, when time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.letters[at] = append(o.letters[at], moment{at: when})
}

// removed notes that the records of a partition before an offset are going to be removed.
func (o *oracle) removed(partition int32, before int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.cuts = append(o.cuts, cut{o.now(), partition, before})
}

// fault notes the beginning of a fault of one member, or of all (""). The end is noted by calling ended.
func (o *oracle) fault(member, what string) (ended func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	f := &fault{what: what, member: member, from: time.Now(), to: time.Now().Add(24 * time.Hour)}
	o.faults = append(o.faults, f)
	return func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		f.to = time.Now()
	}
}

// pausedAll notes a fault of all that is over.
func (o *oracle) pausedAll(what string, from, to time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.faults = append(o.faults, &fault{what: what, from: from, to: to})
}

// sessionBegins notes that a session of a member begins, and by which id the group knows it.
func (o *oracle) sessionBegins(memberID, member string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.members[memberID] = member
	o.begins[member] = append(o.begins[member], time.Now())
}

// judgement is what the oracle makes of what it saw.
type judgement struct {
	wrong                              []string
	records, rows, letters, duplicates int
}

func (j *judgement) say(format string, args ...any) {
	j.wrong = append(j.wrong, fmt.Sprintf(format, args...))
}

// report fails the test with what is wrong, and the story.
func (o *oracle) report(t *testing.T, j *judgement) {
	t.Helper()
	if len(j.wrong) == 0 {
		t.Logf("%d records, %d rows, %d dead letters, %d sent again for a reason", j.records, j.rows, j.letters, j.duplicates)
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	t.Errorf("%d things are wrong:\n  %s\n\nthe story:\n%s", len(j.wrong), strings.Join(j.wrong[:min(20, len(j.wrong))], "\n  "), strings.Join(o.story, "\n"))
}

// road is all that happened to one record.
type road struct {
	record
	sends    []*send // in the order in which they came
	accepted *moment // the first acceptance
	letter   *moment // the first dead letter
}

// refusals counts how often the row was said to be bad.
func (r *road) refusals() (n int) {
	for _, s := range r.sends {
		if s.refused {
			n++
		}
	}
	return n
}

// judge compares what was seen with the guarantees.
func (o *oracle) judge() *judgement {
	o.mu.Lock()
	defer o.mu.Unlock()
	j := &judgement{records: len(o.records)}
	if o.stalled {
		j.say("a stall")
	}
	roads := o.roads(j)
	for _, r := range roads {
		o.nothingLost(j, r)
		o.duplicates(j, r)
	}
	o.noCommitAhead(j, roads)
	o.orderPerKey(j, roads)
	o.leases(j)
	o.owners(j, roads)
	return j
}

// roads sorts what was seen by record.
func (o *oracle) roads(j *judgement) map[spot]*road {
	roads, byRef := make(map[spot]*road, len(o.records)), make(map[string]*road, len(o.records))
	for _, r := range o.records {
		one := &road{record: r}
		roads[r.spot], byRef[r.ref] = one, one
	}
	ids := map[string]string{}
	for _, s := range o.sends {
		r := byRef[s.ref]
		if r == nil {
			j.say("a row that nobody published: %q", s.ref)
			continue
		}
		r.sends = append(r.sends, s)
		if want := cmp.Or(r.id, r.sends[0].id); s.id != want {
			j.say("%v: event id %q, which was %q", r.spot, s.id, want)
		}
		if other := ids[s.id]; other != "" && other != s.ref {
			j.say("%v: its event id %q is that of another record too", r.spot, s.id)
		}
		ids[s.id] = s.ref
		if s.accepted != nil && (r.accepted == nil || s.accepted.seq < r.accepted.seq) {
			r.accepted = s.accepted
		}
	}
	for at, letters := range o.letters {
		r := roads[at]
		if r == nil {
			j.say("%v: a dead letter of a record that nobody published", at)
			continue
		}
		slices.SortFunc(letters, func(a, b moment) int { return a.at.Compare(b.at) })
		r.letter = &letters[0]
		j.letters++
		for i := 1; i < len(letters); i++ {
			if !o.lettersMayRepeat(at, letters[i-1].at, letters[i].at) {
				j.say("%v: dead letters at %s and %s for no reason", at, o.clock(letters[i-1].at), o.clock(letters[i].at))
			}
		}
	}
	return roads
}

// ascending sorts roads by offset, whatever their partition.
func ascending(roads map[spot]*road) []*road {
	return slices.SortedFunc(maps.Values(roads), func(a, b *road) int { return cmp.Compare(a.offset, b.offset) })
}

// nothingLost is guarantee 1, and what dead letters may be of.
func (o *oracle) nothingLost(j *judgement, r *road) {
	if r.accepted != nil {
		j.rows++
	}
	removed := o.removedBy(r.spot, nil)
	switch r.kind {
	case good:
		if r.letter != nil && r.refusals() < 2 {
			j.say("%v: a good record has a dead letter", r.spot)
		}
		if r.accepted == nil && r.letter == nil && !removed {
			j.say("%v: lost", r.spot)
		}
	case refused, poison:
		if r.accepted != nil || r.kind == poison && len(r.sends) > 0 {
			j.say("%v: a row, though it is %s", r.spot, r.kind)
		}
		if r.letter == nil && !removed {
			j.say("%v: lost, %s without a dead letter", r.spot, r.kind)
		}
	case tombstone:
		if r.letter != nil || len(r.sends) > 0 {
			j.say("%v: something became of a tombstone", r.spot)
		}
	}
}

// removedBy tells whether retention removed the record, before a moment if one is given.
func (o *oracle) removedBy(at spot, before *moment) bool {
	return slices.ContainsFunc(o.cuts, func(c cut) bool {
		return c.partition == at.partition && at.offset < c.before && (before == nil || !c.at.After(before.at))
	})
}

// noCommitAhead is the other half of guarantee 1: whatever a commit says to be done, was done when it came to the broker.
func (o *oracle) noCommitAhead(j *judgement, roads map[spot]*road) {
	left := map[int32][]*road{} // what no commit has spoken of yet, ascending
	for _, r := range ascending(roads) {
		left[r.partition] = append(left[r.partition], r)
	}
	for i := range o.commits {
		c := &o.commits[i]
		left[c.partition] = slices.DeleteFunc(left[c.partition], func(r *road) bool {
			if !c.covers(r.offset) {
				return false
			}
			if !o.doneBefore(r, c.moment) && !o.removedBy(r.spot, &c.moment) {
				j.say("%v: committed by %s at %s (offset %d) before it was done", r.spot, o.name(c.memberID), o.clock(c.at), c.offset)
			}
			return true
		})
	}
	for partition, roads := range left {
		for _, r := range roads {
			if o.removedBy(r.spot, nil) {
				continue
			}
			j.say("partition %d: no commit covers offset %d", partition, r.offset)
			break
		}
	}
}

// doneBefore tells whether the record came to its end before a moment.
func (o *oracle) doneBefore(r *road, m moment) bool {
	return r.kind == tombstone || r.accepted != nil && r.accepted.before(m) || r.letter != nil && r.letter.before(m)
}

// orderPerKey is guarantee 3: a record is not sent before the one before it of the same key was accepted for the first
// time, or has its dead letter.
func (o *oracle) orderPerKey(j *judgement, roads map[spot]*road) {
	type chain struct {
		partition int32
		key       string
	}
	last := map[chain]*road{}
	for _, r := range ascending(roads) {
		if r.key == nil || r.kind == tombstone {
			continue
		}
		c := chain{r.partition, string(r.key)}
		before := last[c]
		last[c] = r
		if before == nil || len(r.sends) == 0 || o.removedBy(before.spot, &r.sends[0].moment) {
			continue
		}
		if !o.doneBefore(before, r.sends[0].moment) {
			j.say("%v: sent before %v of the same key was done", r.spot, before.spot)
		}
	}
}

// duplicates is guarantee 4: what was accepted is accepted again only if the sender could not know, or if a fault came
// between the acceptance and the next commit.
func (o *oracle) duplicates(j *judgement, r *road) {
	var before *send
	for _, s := range r.sends {
		if s.accepted == nil {
			continue
		}
		if before != nil && !before.misled {
			j.duplicates++
			if why := o.unexplained(r, before, s); why != "" {
				j.say("%v: accepted from %s at %s and from %s at %s: %s; commits:\n      %s", r.spot, before.member, o.clock(before.accepted.at), s.member, o.clock(s.accepted.at), why, o.commitsBetween(r.partition, before.moment, s.moment))
			}
		}
		before = s
	}
}

// commitsBetween describes what landed of a partition between two moments.
func (o *oracle) commitsBetween(partition int32, from, to moment) string {
	var found []string
	last := ""
	for i := range o.commits {
		c := &o.commits[i]
		if !c.landed || c.partition != partition || !c.before(to) {
			continue
		}
		line := fmt.Sprintf("%s at %s: %d and %v", o.name(c.memberID), o.clock(c.at), c.offset, c.done)
		if c.before(from) {
			last = line
			continue
		}
		found = append(found, line)
	}
	return strings.Join(append([]string{last}, found...), "\n      ")
}

// unexplained says why a record must not have been sent a second time, or nothing.
func (o *oracle) unexplained(r *road, first, again *send) string {
	if o.unboundBy(r, first, again) {
		return "" // completions that are bound to a record which retention removed are of no use
	}
	if first.member == again.member {
		for _, f := range o.faults { // when it goes on, its time for the answer is over
			sent := f.from // at the latest
			if f.member == "" {
				sent = f.to // what was on its way was not seen to come until all went on
			}
			if f.what == standsStill && f.meets(first.member) && !sent.Add(time.Second).Before(first.at) && !f.from.After(first.accepted.at.Add(time.Second)) {
				return ""
			}
		}
		return "the member knew"
	}
	for i := range o.commits {
		if c := &o.commits[i]; c.landed && c.partition == r.partition && !c.before(first.moment) && c.before(again.moment) && c.covers(r.offset) {
			return fmt.Sprintf("a commit of %s at %s covered it", o.name(c.memberID), o.clock(c.at))
		}
	}
	for i := range o.commits {
		// While it stood still its commit may have been under way. And a session that has fetched nothing yet commits what was
		// committed, whatever its member remembers.
		c := &o.commits[i]
		if own := c.landed && o.knowsSenders && c.partition == r.partition && o.name(c.memberID) == first.member; own &&
			c.at.After(first.accepted.at.Add(o.slack)) && c.before(again.moment) &&
			!o.stoodStill(first.member, first.accepted.at, c.at) && !o.beganAnew(first.member, first.accepted.at, c.at.Add(o.slack)) {
			return fmt.Sprintf("a later commit of the same member at %s does not say it", o.clock(c.at))
		}
	}
	for _, f := range o.faults {
		if f.meets(first.member) && f.ofCommits() && f.touches(first.at, again.at) {
			return ""
		}
	}
	return "nothing had happened to the first one"
}

// beganAnew tells whether a session of a member began between two moments.
func (o *oracle) beganAnew(member string, from, to time.Time) bool {
	return slices.ContainsFunc(o.begins[member], func(t time.Time) bool { return !t.Before(from) && !t.After(to) })
}

// stoodStill tells whether a member was paused between two moments.
func (o *oracle) stoodStill(member string, from, to time.Time) bool {
	return slices.ContainsFunc(o.faults, func(f *fault) bool {
		return f.what == standsStill && f.meets(member) && !f.from.After(to) && !f.to.Before(from)
	})
}

// meets tells whether the fault is one of a member too.
func (f *fault) meets(member string) bool { return f.member == "" || f.member == member }

// touches tells whether the fault, or what follows from it, lies between two moments.
func (f *fault) touches(from, to time.Time) bool {
	return !f.from.After(to) && !f.to.Add(3*time.Second).Before(from)
}

// ofCommits tells whether the fault can keep a commit from landing.
func (f *fault) ofCommits() bool {
	switch f.what {
	case "Fetch", "ListOffsets", "Produce", "LeaveGroup", "dropped Fetch", "dropped Produce", "JoinGroup", "SyncGroup", "dropped JoinGroup", "dropped SyncGroup":
		return false
	}
	return true
}

// lettersMayRepeat tells whether two dead letters of a record have a reason: a fault between them, or completions that
// retention unbound.
func (o *oracle) lettersMayRepeat(at spot, first, again time.Time) bool {
	for _, c := range o.cuts {
		if c.partition == at.partition && c.before <= at.offset && !c.at.After(again) {
			return true
		}
	}
	return slices.ContainsFunc(o.faults, func(f *fault) bool { return f.touches(first, again) })
}

// unboundBy tells whether retention removed the record at the position from which the second delivery began.
func (o *oracle) unboundBy(r *road, first, again *send) bool {
	var last *commit
	unbound := func(c *commit) bool {
		return slices.ContainsFunc(o.cuts, func(x cut) bool {
			return x.partition == r.partition && c.offset < x.before && x.before <= r.offset && !x.at.After(again.at)
		})
	}
	for i := range o.commits {
		c := &o.commits[i]
		if !c.landed || c.partition != r.partition || !c.before(again.moment) {
			continue
		}
		if c.before(first.moment) {
			last = c
		} else if unbound(c) {
			return true
		}
	}
	return last != nil && unbound(last)
}

// owners is the rule that nobody sends beside its successor, and commits never go back.
func (o *oracle) owners(j *judgement, roads map[spot]*road) {
	if !o.knowsSenders {
		return
	}
	landed := map[int32][]*commit{}
	for i := range o.commits {
		if c := &o.commits[i]; c.landed {
			if l := landed[c.partition]; len(l) > 0 && l[len(l)-1].offset > c.offset {
				j.say("partition %d: the commit of %s at %s went back from %d to %d", c.partition, o.name(c.memberID), o.clock(c.at), l[len(l)-1].offset, c.offset)
			}
			landed[c.partition] = append(landed[c.partition], c)
		}
	}
	for _, r := range roads {
		for _, s := range r.sends {
			l := landed[r.partition]
			n, _ := slices.BinarySearchFunc(l, s.seq, func(c *commit, seq int) int { return cmp.Compare(c.seq, seq) })
			if n == 0 {
				j.say("%v: sent by %s at %s before any commit of the partition", r.spot, s.member, o.clock(s.at))
			} else if c := l[n-1]; o.name(c.memberID) != s.member {
				j.say("%v: sent by %s at %s, beside %s, which had committed at %s", r.spot, s.member, o.clock(s.at), o.name(c.memberID), o.clock(c.at))
			}
		}
	}
}

// leases is the rule that no member sends beside its successor: it had a commit acknowledged within the last session
// timeout.
func (o *oracle) leases(j *judgement) {
	if !o.knowsSenders {
		return
	}
	landed := map[string][]commit{}
	for _, c := range o.commits {
		if c.landed {
			landed[o.name(c.memberID)] = append(landed[o.name(c.memberID)], c)
		}
	}
	for _, s := range o.sends {
		mine := landed[s.member]
		n, _ := slices.BinarySearchFunc(mine, s.seq, func(c commit, seq int) int { return cmp.Compare(c.seq, seq) })
		if n == 0 {
			j.say("%s: sent by %s at %s, before any commit of it landed", s.ref, s.member, o.clock(s.at))
		} else if age := s.at.Sub(mine[n-1].at); age > o.lease+o.slack && !o.stoodStill("", mine[n-1].at, s.at) {
			j.say("%s: sent by %s at %s, %v after its last commit landed", s.ref, s.member, o.clock(s.at), age.Round(time.Millisecond))
		}
	}
}

func (o *oracle) name(memberID string) string { return cmp.Or(o.members[memberID], memberID) }

func (o *oracle) clock(t time.Time) string { return fmt.Sprintf("%.3f", t.Sub(o.began).Seconds()) }

// stall notes that things did not come to their end.
func (o *oracle) stall() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.stalled = true
}

// onFailure prints the story of a run that ended before it could be judged.
func (o *oracle) onFailure(t *testing.T) {
	t.Helper()
	if t.Failed() {
		o.mu.Lock()
		defer o.mu.Unlock()
		t.Logf("the story:\n%s", strings.Join(o.story, "\n"))
	}
}
