package enrich

import (
	"log/slog"
	"sync"
	"time"
)

// logInterval is the least time between two lines about failures.
const logInterval = time.Minute

// An outage turns failures, as many as rows, into a line when they begin, one a minute while they last, and one when they are over.
type outage struct {
	log *slog.Logger

	mu       sync.Mutex
	logged   time.Time // when the last failure was logged
	failures int       // since then
	open     bool      // the last line was about a failure
}

func (o *outage) failed(why reason, status int, err error) {
	o.mu.Lock()
	o.failures++
	failures, due := o.failures, o.logged.IsZero() || time.Since(o.logged) >= logInterval
	if due {
		o.logged, o.failures, o.open = time.Now(), 0, true
	}
	o.mu.Unlock()

	if due {
		o.log.Warn("age lookups fail, rows go on without an age",
			"reason", why.String(), "status", status, "failures", failures, "err", err)
	}
}

func (o *outage) succeeded() {
	o.mu.Lock()
	over := o.open
	o.open = false
	o.mu.Unlock()

	if over {
		o.log.Info("age lookups succeed again")
	}
}
