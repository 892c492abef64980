package enrich

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// A result is how one lookup ended. Each lookup has exactly one.
type result int

const (
	hit         result = iota // an age from the cache
	stale                     // an age from the cache that is too old, because agify cannot be asked
	miss                      // an age that agify was asked for
	coalesced                 // an age that another lookup was asking for at that moment
	unknown                   // agify does not know the name, whether it said so now or before
	skipped                   // nothing to ask about
	unavailable               // agify gave no answer, none in time, or was not asked
	canceled                  // the caller's context ended first
	results                   // how many there are
)

func (r result) String() string {
	return [...]string{"hit", "stale", "miss", "coalesced", "unknown", "skipped", "unavailable", "canceled"}[r]
}

// status is what rows are told of a result.
func (r result) status() string {
	switch r {
	case stale:
		return hit.String()
	case coalesced:
		return miss.String()
	case canceled:
		return unavailable.String()
	default:
		return r.String()
	}
}

type metrics struct {
	lookups         [results]prometheus.Counter
	single, batched prometheus.Counter
	names           prometheus.Counter
	failures        [reasons]prometheus.Counter
	requestDuration prometheus.Histogram
	evictions       prometheus.Counter
	stopped         [stops]prometheus.Gauge // none for running

	// There is none before agify has said anything of it.
	limit, remaining, reset *prometheus.GaugeVec
}

func newMetrics(reg prometheus.Registerer, cacheEntries func() int) *metrics {
	m := new(metrics)
	auto := promauto.With(reg)

	lookups := auto.NewCounterVec(prometheus.CounterOpts{
		Name: "signup_sheet_enrich_lookups_total",
		Help: "Ages looked up for rows, by result: an age from the cache (hit), or from there but too old, because agify cannot be asked (stale), from a call of its own (miss) or of another row (coalesced); no age because agify does not know the name (unknown), there was none to ask about (skipped), agify did not answer or is not asked for now (unavailable) or the row was given up (canceled).",
	}, []string{"result"})
	for r := range results {
		m.lookups[r] = lookups.WithLabelValues(r.String())
	}

	requests := auto.NewCounterVec(prometheus.CounterOpts{
		Name: "signup_sheet_enrich_requests_total",
		Help: "Requests to agify, by form: about one name (single) or several (batch).",
	}, []string{"form"})
	m.single, m.batched = requests.WithLabelValues("single"), requests.WithLabelValues("batch")
	m.names = auto.NewCounter(prometheus.CounterOpts{
		Name: "signup_sheet_enrich_names_total",
		Help: "Names in requests to agify. Each counts against the quota when agify answers.",
	})

	failures := auto.NewCounterVec(prometheus.CounterOpts{
		Name: "signup_sheet_enrich_request_failures_total",
		Help: "Requests to agify without an answer, by reason: timeout, network, unauthorized (401, 402), limited (429), name (400, 422: agify does not take a name, or so many), size (413, 414), status (any other, or one of these that is not agify's word), answer (a body that is none; of several names also one answer that is none), count (not as many answers as names).",
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
	m.evictions = auto.NewCounter(prometheus.CounterOpts{
		Name: "signup_sheet_enrich_cache_evictions_total",
		Help: "Answers that left the cache for others, because agify.cache_size is reached.",
	})

	stopped := auto.NewGaugeVec(prometheus.GaugeOpts{
		Name: "signup_sheet_enrich_stopped",
		Help: "1 while agify is not asked, by reason: its answers fail (failing), it takes no key (unauthorized), its quota is used up (quota), or what remains of it is kept for live traffic (reserve).",
	}, []string{"reason"})
	for s := stopFailing; s < stops; s++ {
		m.stopped[s] = stopped.WithLabelValues(s.String())
	}

	m.limit = auto.NewGaugeVec(prometheus.GaugeOpts{
		Name: "signup_sheet_enrich_quota_limit",
		Help: "Names that agify answers in a period, as it last said.",
	}, nil)
	m.remaining = auto.NewGaugeVec(prometheus.GaugeOpts{
		Name: "signup_sheet_enrich_quota_remaining",
		Help: "Names that agify answers until its quota begins anew, as it last said.",
	}, nil)
	m.reset = auto.NewGaugeVec(prometheus.GaugeOpts{
		Name: "signup_sheet_enrich_quota_reset_timestamp_seconds",
		Help: "When agify's quota begins anew, as it last said.",
	}, nil)
	return m
}

// stop shows why nobody is asked.
func (m *metrics) stop(why stop) {
	for s := stopFailing; s < stops; s++ {
		m.stopped[s].Set(0)
	}
	if why != running {
		m.stopped[why].Set(1)
	}
}

// account shows the quota.
func (m *metrics) account(q quota) {
	m.limit.WithLabelValues().Set(float64(q.limit))
	m.remaining.WithLabelValues().Set(float64(q.remaining))
	if !q.reset.IsZero() {
		m.reset.WithLabelValues().Set(float64(q.reset.Unix()))
	}
}
