package main

import "slices"

// maxKeptLines is how many lines of a table are kept for the page.
const maxKeptLines = 300

// newest keeps the last lines of a table that may have millions.
type newest struct {
	count int // lines that there ever were
	kept  [][]string
}

// lines are some lines of a table, without a gap.
type lines struct {
	First int        `json:"first"` // the number of the first of them, from 1
	Cells [][]string `json:"cells"`
}

func (n *newest) add(cells []string) {
	n.count++
	n.kept = append(n.kept, cells)
	if len(n.kept) >= 2*maxKeptLines {
		n.kept = slices.Clone(n.kept[len(n.kept)-maxKeptLines:])
	}
}

// after returns the lines behind the n-th, of the last maxKeptLines.
func (n *newest) after(line int) lines {
	wanted := min(max(0, n.count-line), maxKeptLines, len(n.kept))
	return lines{First: n.count - wanted + 1, Cells: slices.Clone(n.kept[len(n.kept)-wanted:])}
}
