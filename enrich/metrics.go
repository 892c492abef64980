package enrich

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// A result is how one lookup ended. Each lookup has exactly one.
type result int

const (
	hit         result = iota // an age from the cache
	miss                      // an age that agify was asked for
	coalesced                 // an age that another lookup was asking for at that moment
	unknown                   // agify does not know the name, whether it said so now or before
	skipped                   // nothing to ask about
	unavailable               // agify gave no answer, or none in time
	canceled                  // the caller's context ended first
	results                   // how many there are
)

func (r result) String() string {
	return [...]string{"hit", "miss", "coalesced", "unknown", "skipped", "unavailable", "canceled"}[r]
}

type metrics struct {
	lookups         [results]prometheus.Counter
	failures        [reasons]prometheus.Counter
	requestDuration prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer, cacheEntries func() int) *metrics {
	m := new(metrics)
	auto := promauto.With(reg)

	lookups := auto.NewCounterVec(prometheus.CounterOpts{
		Name: "signup_sheet_enrich_lookups_total",
		Help: "Ages looked up for rows, by result: an age from the cache (hit), from a request of its own (miss) or of another row (coalesced); no age because agify does not know the name (unknown), there was none to ask about (skipped), agify did not answer (unavailable) or the row was given up (canceled).",
	}, []string{"result"})
	for r := range results {
		m.lookups[r] = lookups.WithLabelValues(r.String())
	}

	failures := auto.NewCounterVec(prometheus.CounterOpts{
		Name: "signup_sheet_enrich_request_failures_total",
		Help: "Requests to agify without an answer, by reason: timeout, network, unauthorized (401, 402), limited (429), refused (400, 422), status (any other), answer (a body that is none).",
	}, []string{"reason"})
	for r := range reasons {
		m.failures[r] = failures.WithLabelValues(r.String())
	}

	m.requestDuration = auto.NewHistogram(prometheus.HistogramOpts{
		Name:    "signup_sheet_enrich_request_duration_seconds",
		Help:    "Time that requests to agify took, failed ones included.",
		Buckets: []float64{.005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
	})

	auto.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "signup_sheet_enrich_cache_entries",
		Help: "Answers in the cache, those that agify does not know a name included.",
	}, func() float64 { return float64(cacheEntries()) })
	return m
}
