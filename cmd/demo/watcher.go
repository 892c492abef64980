package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	member "signup-sheet/consumer"
)

// The consumers' counters that the road is made of.
const (
	fetchedMetric  = "signup_sheet_records_consumed_total"
	enrichedMetric = "signup_sheet_enrich_lookups_total"
)

// patienceWithConsumer is how long a consumer may take to say how it is.
const patienceWithConsumer = 500 * time.Millisecond

// watcher asks the consumers how they are.
type watcher struct {
	client *http.Client
	last   map[int]counters // by process id
	sum    counters         // of all consumers that there ever were
}

// counters are totals of what consumers have done.
type counters struct{ fetched, enriched float64 }

// report is what is known of one consumer.
type report struct {
	seat
	status *member.Status // nil: it does not answer, as before it has started
}

// runs tells whether the consumer is a member of the group that has its share.
func (r report) runs() bool {
	return r.status != nil && len(r.status.Partitions) > 0 && r.status.State == "running"
}

func newWatcher() *watcher {
	return &watcher{client: &http.Client{Timeout: patienceWithConsumer}, last: map[int]counters{}}
}

// look asks every consumer for its status and its counters.
func (w *watcher) look(ctx context.Context, seats []seat) []report {
	reports := make([]report, len(seats))
	for i, s := range seats {
		reports[i].seat = s
		address := s.consumer.log.admin()
		if address == "" || s.dying {
			continue
		}
		var status member.Status
		if err := w.get(ctx, address, "/status", func(r io.Reader) error { return json.NewDecoder(r).Decode(&status) }); err != nil {
			continue
		}
		reports[i].status = &status
		_ = w.get(ctx, address, "/metrics", func(r io.Reader) error { return w.count(s.pid(), r) }) // the next look may have it
	}
	return reports
}

func (w *watcher) get(ctx context.Context, address, path string, read func(io.Reader) error) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, http.NoBody)
	if err != nil {
		return err
	}
	response, err := w.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", path, response.Status)
	}
	return read(response.Body)
}

// count adds what the process has done since it was last asked.
func (w *watcher) count(pid int, metrics io.Reader) error {
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(metrics)
	if err != nil {
		return err
	}
	total := func(name string) (sum float64) {
		for _, m := range families[name].GetMetric() {
			sum += m.GetCounter().GetValue()
		}
		return sum
	}
	now, before := counters{total(fetchedMetric), total(enrichedMetric)}, w.last[pid]
	w.last[pid] = now
	w.sum.fetched += now.fetched - before.fetched
	w.sum.enriched += now.enriched - before.enriched
	return nil
}
