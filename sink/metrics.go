package sink

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// The results of an attempt that are no verdicts.
const (
	resultTimeout = "timeout"         // transient: no answer in time
	resultNetwork = "network"         // transient: no connection, or it broke
	resultLost    = "connection_lost" // not counted against the endpoint
)

type metrics struct {
	attempts map[string]prometheus.Counter // by result
	duration prometheus.Histogram
	retries  prometheus.Counter
	repeats  prometheus.Counter
	renewals prometheus.Counter
	changes  prometheus.Counter
	tokens   map[bool]prometheus.Counter // by whether one was given
	holds    *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer, g *gate, unreadable *atomic.Int64) *metrics {
	with := promauto.With(reg)
	m := &metrics{
		attempts: map[string]prometheus.Counter{},
		duration: with.NewHistogram(prometheus.HistogramOpts{
			Name: "signup_sheet_attempt_duration_seconds",
			Help: "Time from the start of an attempt to the end of its answer.",
			Buckets: []float64{
				0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 15, 30, 60,
			},
		}),
		retries: with.NewCounter(prometheus.CounterOpts{
			Name: "signup_sheet_retries_total",
			Help: "Attempts that failed and are made again later.",
		}),
		repeats: with.NewCounter(prometheus.CounterOpts{
			Name: "signup_sheet_connection_repeats_total",
			Help: "Attempts made again at once, since a kept-alive connection had died unnoticed.",
		}),
		renewals: with.NewCounter(prometheus.CounterOpts{
			Name: "signup_sheet_credential_repeats_total",
			Help: "Attempts made again at once, with a newer URL or newer credentials than those that the endpoint did not take.",
		}),
		changes: with.NewCounter(prometheus.CounterOpts{
			Name: "signup_sheet_credential_changes_total",
			Help: "Times that files with the URL or with credentials had other content.",
		}),
		tokens: map[bool]prometheus.Counter{},
		holds: with.NewCounterVec(prometheus.CounterOpts{
			Name: "signup_sheet_holds_total",
			Help: "Holds of all deliveries by the reason for which they began.",
		}, []string{"reason"}),
	}
	with.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "signup_sheet_in_flight_attempts",
		Help: "HTTP requests to the endpoint under way.",
	}, func() float64 { return float64(g.underWay()) })
	with.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "signup_sheet_dead_letters_withheld",
		Help: "Rows that would be dead letters, were there not more than dead_letter.budget among the latest 100 rows.",
	}, func() float64 { return float64(g.overBudget()) })
	with.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "signup_sheet_credential_files_unreadable",
		Help: "Settings whose files cannot be used now: what was read from them before is used on.",
	}, func() float64 { return float64(unreadable.Load()) })
	tokens := with.NewCounterVec(prometheus.CounterOpts{
		Name: "signup_sheet_token_requests_total",
		Help: "Access tokens asked for (OAuth client credentials) by result.",
	}, []string{"result"})
	m.tokens[true], m.tokens[false] = tokens.WithLabelValues("given"), tokens.WithLabelValues("failed")
	for _, reason := range holdReasons() {
		m.holds.WithLabelValues(reason)
		with.NewGaugeFunc(prometheus.GaugeOpts{
			Name:        "signup_sheet_hold",
			Help:        "1 while all deliveries are held, by reason.",
			ConstLabels: prometheus.Labels{"reason": reason},
		}, func() float64 {
			if h, ok := g.holding(); ok && h.Reason == reason {
				return 1
			}
			return 0
		})
	}
	attempts := with.NewCounterVec(prometheus.CounterOpts{
		Name: "signup_sheet_attempts_total",
		Help: "HTTP requests to the endpoint by result.",
	}, []string{"result"})
	for _, result := range []string{
		string(accepted), string(refused), string(transient), string(atFault),
		resultTimeout, resultNetwork, resultLost,
	} {
		m.attempts[result] = attempts.WithLabelValues(result)
	}
	return m
}

func (m *metrics) attempt(a answer, took time.Duration) {
	result := string(a.verdict)
	switch {
	case a.lost:
		result = resultLost
	case a.reason == reasonTimeout:
		result = resultTimeout
	case a.reason == reasonNetwork:
		result = resultNetwork
	}
	m.attempts[result].Inc()
	m.duration.Observe(took.Seconds())
}
