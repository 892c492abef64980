package sink

import (
	"time"

	"golang.org/x/time/rate"
)

const (
	// paceMargin is the part of the rate that is used: what a burst adds stays below the
	// rest, over ten seconds and three members.
	paceMargin = 0.98
	// paceBurst is how late attempts may come without being lost, in seconds: timers are late.
	paceBurst = 0.1
)

// pace spreads attempts over time. The zero value is no pace.
type pace struct {
	rate    float64 // attempts per second of all members together; 0: any
	limiter *rate.Limiter
}

// newPace returns a pace of so many attempts per second, of which this member has all.
func newPace(perSecond float64) pace {
	if perSecond <= 0 {
		return pace{}
	}
	p := pace{rate: perSecond, limiter: rate.NewLimiter(0, 1)}
	p.setShare(1)
	return p
}

// setShare sets this member's part of the rate, from 0 to 1.
func (p *pace) setShare(part float64) {
	if p.limiter == nil {
		return
	}
	now := time.Now()
	perSecond := p.rate * part * paceMargin
	p.limiter.SetLimitAt(now, rate.Limit(perSecond))
	p.limiter.SetBurstAt(now, max(1, int(perSecond*paceBurst)))
}

// wait returns how long the next attempt has to wait. If that is 0, it has begun.
func (p *pace) wait() time.Duration {
	if p.limiter == nil {
		return 0
	}
	now := time.Now()
	r := p.limiter.ReserveN(now, 1)
	if !r.OK() {
		return rate.InfDuration
	}
	wait := r.DelayFrom(now)
	if wait > 0 {
		r.CancelAt(now)
	}
	return wait
}

// book returns how long an attempt that follows another at once has to wait. Those of all
// others come after it.
func (p *pace) book() time.Duration {
	if p.limiter == nil {
		return 0
	}
	now := time.Now()
	return p.limiter.ReserveN(now, 1).DelayFrom(now)
}

// slows reports whether an attempt would have to wait now.
func (p *pace) slows() bool { return p.limiter != nil && p.limiter.Tokens() < 1 }
