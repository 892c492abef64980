package consumer

import (
	"iter"
	"slices"
	"sort"
)

// span is the half-open range of offsets [from, to).
type span struct{ from, to int64 }

// spans is a set of offsets: ascending, disjoint, never touching spans.
type spans []span

// add puts [from, to) into the set.
func (s *spans) add(from, to int64) {
	if from >= to {
		return
	}
	set := *s
	i := sort.Search(len(set), func(i int) bool { return set[i].to >= from })
	j := i
	for ; j < len(set) && set[j].from <= to; j++ {
		from, to = min(from, set[j].from), max(to, set[j].to)
	}
	*s = slices.Replace(set, i, j, span{from, to})
}

// cut removes every offset below o.
func (s *spans) cut(o int64) {
	set := *s
	i := sort.Search(len(set), func(i int) bool { return set[i].to > o })
	set = slices.Delete(set, 0, i)
	if len(set) > 0 && set[0].from < o {
		set[0].from = o
	}
	*s = set
}

// has reports whether o is in the set.
func (s spans) has(o int64) bool {
	i := sort.Search(len(s), func(i int) bool { return s[i].to > o })
	return i < len(s) && s[i].from <= o
}

// above yields what the set holds at or above o.
func (s spans) above(o int64) iter.Seq[span] {
	return func(yield func(span) bool) {
		for _, r := range s {
			if r.to > o && !yield(span{max(r.from, o), r.to}) {
				return
			}
		}
	}
}

// count is the number of offsets in the set.
func (s spans) count() int64 {
	var n int64
	for _, r := range s {
		n += r.to - r.from
	}
	return n
}
