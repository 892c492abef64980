package main

import (
	"encoding/csv"
	"fmt"
	"os"
	"sync"
	"time"

	"signup-sheet/internal/receiver"
)

// sheet writes rows to a CSV file, each as soon as it is accepted, and keeps the newest.
type sheet struct {
	file *os.File
	csv  *csv.Writer

	mu   sync.Mutex
	seen sheetState
	rows newest
}

// sheetState is what the sheet has seen of its rows.
type sheetState struct {
	columns []string // of the first row
	ages    int      // rows with an age
	last    time.Time
}

func createSheet(path string) (*sheet, error) {
	file, err := os.Create(path) //nolint:gosec // whoever runs the demo names the file
	if err != nil {
		return nil, fmt.Errorf("create the sheet: %w", err)
	}
	return &sheet{file: file, csv: csv.NewWriter(file)}, nil
}

// write adds the row; the first one adds the names of the columns too.
func (s *sheet) write(e receiver.Entry) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen.columns == nil {
		s.seen.columns = e.Row.Columns()
		if err := s.csv.Write(s.seen.columns); err != nil {
			return err
		}
	}
	cells := make([]string, len(s.seen.columns))
	for i, column := range s.seen.columns {
		cells[i] = e.Row.Text(column)
	}
	if err := s.csv.Write(cells); err != nil {
		return err
	}
	s.rows.add(cells)
	if e.Row.Text("age_guess") != "" {
		s.seen.ages++
	}
	s.seen.last = e.Time
	s.csv.Flush()
	return s.csv.Error()
}

func (s *sheet) state() sheetState {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen
}

// columns returns the names of the columns and the number of rows.
func (s *sheet) columns() ([]string, int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen.columns, s.rows.count
}

// after returns the rows behind the n-th, of those that are kept.
func (s *sheet) after(n int) lines {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rows.after(n)
}

func (s *sheet) close() error { return s.file.Close() }
