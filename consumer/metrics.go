package consumer

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// metrics are the consumer's own; deliveries' and lookups' are the sink's and
// the enricher's.
type metrics struct {
	consumed        prometheus.Counter
	delivered       prometheus.Counter
	deadLetters     *prometheus.CounterVec // class
	skipped         *prometheus.CounterVec // reason
	trimmed         prometheus.Counter
	restored        prometheus.Counter
	latency         prometheus.Histogram
	commits         *prometheus.CounterVec // result
	rebalances      prometheus.Counter
	fetchErrors     *prometheus.CounterVec // kind
	retentionGaps   prometheus.Counter
	retentionLost   prometheus.Counter
	beyondEnd       prometheus.Counter
	metadataIgnored *prometheus.CounterVec // reason
	metadataRefused prometheus.Counter
}

// Why a record is skipped.
const (
	skippedTombstone = "tombstone"
	skippedOutside   = "outside_range"
)

func deadLetterClasses() []string {
	return []string{"decode", "validate", "map", "too_large", "refused", "exhausted"}
}

// value reads a counter.
func value(c prometheus.Counter) int64 {
	var m dto.Metric
	_ = c.Write(&m) // of a counter it cannot fail
	return int64(m.GetCounter().GetValue())
}

func newMetrics(reg prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		c := prometheus.NewCounter(prometheus.CounterOpts{Name: "signup_sheet_" + name, Help: help})
		reg.MustRegister(c)
		return c
	}
	vec := func(name, help, label string, values ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "signup_sheet_" + name, Help: help}, []string{label})
		for _, v := range values {
			c.WithLabelValues(v)
		}
		reg.MustRegister(c)
		return c
	}
	m := &metrics{
		consumed:        counter("records_consumed_total", "Records taken from the topic, those of earlier sessions that were delivered again included."),
		delivered:       counter("rows_delivered_total", "Rows that the endpoint accepted."),
		deadLetters:     vec("dead_letters_total", "Records written to the dead-letter topic, by class.", "class", deadLetterClasses()...),
		skipped:         vec("records_skipped_total", "Records skipped by a rule.", "reason", skippedTombstone, skippedOutside),
		trimmed:         counter("emails_trimmed_total", "Emails with blanks around them, which were removed."),
		restored:        counter("records_restored_total", "Records not delivered again, because they were known to be settled above the committed offset."),
		commits:         vec("commits_total", "Offset commits by result.", "result", "ok", "error", "fenced"),
		rebalances:      counter("rebalances_total", "Sessions begun: the first one, and one after each rebalance."),
		fetchErrors:     vec("fetch_errors_total", "Fetches of a partition that did not succeed.", "kind", "request", "corrupt"),
		retentionGaps:   counter("retention_gaps_total", "Times that retention removed records before they were delivered."),
		retentionLost:   counter("retention_lost_offsets_total", "Offsets that retention removed before their records were delivered."),
		beyondEnd:       counter("positions_beyond_end_total", "Times that the position lay beyond the end of the log, as after a topic was recreated."),
		metadataIgnored: vec("commit_metadata_ignored_total", "Commit metadata that was not applied, so that its records were delivered again.", "reason", "foreign", "corrupt", "place", "base", "record", "recreated"),
		metadataRefused: counter("commit_metadata_refused_total", "Partitions whose commit metadata the broker found too large."),
		latency: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "signup_sheet_delivery_latency_seconds", Help: "From a record's timestamp until it was settled.",
			Buckets: []float64{.01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600, 86400},
		}),
	}
	reg.MustRegister(m.latency)
	return m
}

// gauges are read from the status at each scrape, so that both always agree.
type gauges struct {
	status                                     func() Status
	window, bytes, lag, age, hold, ready, busy *prometheus.GaugeVec
}

func newGauges(status func() Status) *gauges {
	vec := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "signup_sheet_" + name, Help: help}, labels)
	}
	return &gauges{
		status: status,
		window: vec("window_records", "Records taken and not yet settled.", "partition"),
		bytes:  vec("window_bytes", "Memory of the records taken and not yet settled.", "partition"),
		lag:    vec("lag_records", "Offsets from the watermark to the end of the log.", "partition"),
		age:    vec("oldest_unsettled_seconds", "Since the oldest unsettled record was taken.", "partition"),
		hold:   vec("consumer_hold", "1 while everything waits for the reason.", "reason"),
		ready:  vec("deliveries_queued", "Records that could be delivered now and wait for their turn."),
		busy:   vec("deliveries_in_progress", "Records under way between decoding and their settlement."),
	}
}

func (g *gauges) all() []*prometheus.GaugeVec {
	return []*prometheus.GaugeVec{g.window, g.bytes, g.lag, g.age, g.hold, g.ready, g.busy}
}

// Describe implements prometheus.Collector.
func (g *gauges) Describe(ch chan<- *prometheus.Desc) {
	for _, v := range g.all() {
		v.Describe(ch)
	}
}

// Collect implements prometheus.Collector.
func (g *gauges) Collect(ch chan<- prometheus.Metric) {
	now := newGauges(nil) // of its own, so that partitions that went to others are gone
	s := g.status()
	for _, p := range s.Partitions {
		now.window.WithLabelValues(p.label()).Set(float64(p.Unsettled))
		now.bytes.WithLabelValues(p.label()).Set(float64(p.Bytes))
		now.age.WithLabelValues(p.label()).Set(p.OldestSeconds)
		if p.Lag >= 0 {
			now.lag.WithLabelValues(p.label()).Set(float64(p.Lag))
		}
	}
	for _, reason := range []string{holdLease, holdDeadLetter, holdAge} {
		hold := now.hold.WithLabelValues(reason) // 0
		if slices.ContainsFunc(s.Holds, func(h Hold) bool { return h.Reason == reason }) {
			hold.Set(1)
		}
	}
	now.ready.WithLabelValues().Set(float64(s.Queued))
	now.busy.WithLabelValues().Set(float64(s.InProgress))
	for _, v := range now.all() {
		v.Collect(ch)
	}
}
