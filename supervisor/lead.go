package supervisor

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/supervisord/supervisord/autoscale"
	"github.com/supervisord/supervisord/supervisor/agent"
	"github.com/supervisord/supervisord/supervisor/peer"
	"github.com/supervisord/supervisord/supervisor/plan"
	"github.com/supervisord/supervisord/supervisor/state"
)

// leader runs the planning rounds while this host leads.
type leader struct {
	host    string
	replica *replica
	report  agent.Reporter
	collect *collector
	// frames are the collector's, of the services of a state.
	frames func(state.Cluster) func(service string) []autoscale.Frame
	peers  peers // nil in a cluster of one
	grace  time.Duration
	// sampled gets a value when a host has reported.
	sampled chan struct{}
	log     *slog.Logger

	mu        sync.Mutex
	decisions map[string]autoscale.Decision
	pending   map[string]string
	verdicts  map[string]plan.Verdict
	rounds    time.Time
	// skewed are the hosts whose clocks were complained of.
	skewed map[string]bool
}

const (
	// afterRefusal is the pause after a round that could not be committed
	// whole: whatever the reason, it must not be repeated as fast as the log
	// allows.
	afterRefusal = 250 * time.Millisecond
	// recallWithin bounds the wait for what a host remembers.
	recallWithin = 2 * time.Second
	// skewTold is how far a host's clock may be off before it is told of. The
	// daemon itself bears any difference; logs and certificates do not.
	skewTold = 5 * time.Second
)

// lead plans until the context, which ends with the leadership, does.
func (l *leader) lead(ctx context.Context) error {
	l.log.InfoContext(ctx, "this host leads")
	l.collect.begin()
	defer l.rest()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return l.recall(ctx) })
	g.Go(func() error { return l.plan(ctx) })
	return g.Wait()
}

// recall asks all hosts at once for what they remember of the last minutes, so
// that this leader decides as its predecessor would.
func (l *leader) recall(ctx context.Context) error {
	if l.peers == nil {
		return nil
	}
	c, _ := l.replica.Current()
	var span time.Duration
	for _, s := range c.Spec.Services {
		if s.Autoscale != nil {
			span = max(span, s.Autoscale.Span())
		}
	}
	if span == 0 {
		return nil
	}
	var wg sync.WaitGroup
	for h := range c.Hosts.Values() {
		if h.Peer == "" {
			continue
		}
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, recallWithin)
			defer cancel()
			m, err := l.peers.Recall(ctx, h.Peer, span)
			if err != nil {
				l.log.InfoContext(ctx, "a host does not tell what it remembers; its share of the load is missing from the last minutes", "host", h.Name, "err", err)
				return
			}
			l.collect.recalled(h.Name, m)
			l.poke()
		})
	}
	wg.Wait()
	return nil
}

func (l *leader) poke() {
	select {
	case l.sampled <- struct{}{}:
	default:
	}
}

// heard takes in what a host has measured.
func (l *leader) heard(r peer.Report) {
	l.collect.report(r)
	l.poke()
}

// plan does one round after the other.
func (l *leader) plan(ctx context.Context) error {
	var b brake
	for {
		c, changed := l.replica.Current()
		next := time.Now().Add(planAtLeast)
		sampled := l.sampled
		if c.ID != "" {
			r, late := l.round(ctx, c)
			if len(r.Steps) > 0 {
				// What is committed changes the state; the next round starts
				// from there.
				pause, first := b.pause(time.Now())
				if first {
					l.log.ErrorContext(ctx, "the plan comes to no rest; it is slowed down. Please report it, with the events", "rounds", mostRounds)
				}
				if !l.commit(ctx, r.Steps) {
					pause = max(pause, afterRefusal)
				}
				if pause == 0 {
					continue
				}
				next, changed, sampled = time.Now().Add(pause), nil, nil
			} else {
				next = l.earlier(next, r.Next, late)
			}
		}
		t := time.NewTimer(time.Until(next))
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-changed:
		case <-sampled:
		case <-t.C:
		}
		t.Stop()
	}
}

// mostRounds is how many rounds may change something within a second: a fleet
// that rolls does with a few.
const mostRounds = 50

// brake slows down a plan that takes back what it has just done, which would
// otherwise fill the log as fast as the disk allows.
type brake struct {
	begin time.Time
	n     int
	on    bool
}

// pause is how long to wait after a round that changes something; first says
// that it has just begun to be too much.
func (b *brake) pause(now time.Time) (wait time.Duration, first bool) {
	if age := now.Sub(b.begin); age >= time.Second {
		b.on = b.on && b.n >= mostRounds && age < 3*time.Second
		b.begin, b.n = now, 0
	}
	if b.n++; b.n < mostRounds {
		return 0, false
	}
	first, b.on = !b.on, true
	return b.begin.Add(time.Second).Sub(now), first
}

// earlier is the first of a moment of this host's clock and of those of the
// cluster's time that are not zero.
func (l *leader) earlier(next time.Time, times ...time.Time) time.Time {
	for _, at := range times {
		if at.IsZero() {
			continue
		}
		if here := time.Now().Add(at.Sub(l.replica.Now())); here.Before(next) {
			next = here
		}
	}
	return next
}

func (l *leader) round(ctx context.Context, c state.Cluster) (r plan.Result, late time.Time) {
	late = l.collect.gather(c)
	v := plan.View{Now: l.replica.Now(), Cluster: c, Frames: l.frames(c), Grace: l.grace}
	v.Traffic, v.Trials = l.collect.clients(c)
	if l.peers != nil {
		v.Contact = l.collect.contacts(c)
		// This host needs no sign of life from itself.
		v.Contact[l.host] = v.Now
	}
	r = plan.Round(v)
	l.keep(r)
	l.tellSkew(ctx)
	return r, late
}

// commit proposes the steps of a round as one entry; false when a pause is
// due.
func (l *leader) commit(ctx context.Context, steps []plan.Step) bool {
	cmds := make([]state.Command, len(steps))
	for i, s := range steps {
		cmds[i] = s.Command
		l.log.InfoContext(ctx, "step", "command", state.Kind(s.Command), "of", s.Command, "why", s.Why)
	}
	refused, err := l.report.Propose(ctx, cmds...)
	if err != nil {
		if ctx.Err() == nil {
			l.log.WarnContext(ctx, "cannot commit a round", "err", err)
		}
		return false
	}
	ok := true
	for i, err := range refused {
		if err != nil {
			// The state moved between the round and its commit; the next
			// round sees it. Without any news it would only repeat itself.
			l.log.InfoContext(ctx, "step refused", "command", state.Kind(cmds[i]), "of", cmds[i], "err", err)
			ok = false
		}
	}
	return ok
}

// tellSkew makes an event of a clock that is wrong, once, and of its mending.
func (l *leader) tellSkew(ctx context.Context) {
	for host, skew := range l.collect.skews() {
		wrong := skew.Abs() > skewTold
		if wrong == l.skewed[host] {
			continue
		}
		message := fmt.Sprintf("the clock of %s agrees with that of %s again", host, l.host)
		if wrong {
			message = fmt.Sprintf("the clock of %s is %s off that of %s; nothing is done by it, but set it right: logs and certificates need it", host, skew.Round(time.Second), l.host)
		}
		l.log.WarnContext(ctx, message)
		if _, err := l.report.Propose(ctx, state.Note{Event: state.Event{Kind: state.EventClockSkew, Host: host, Message: message}}); err != nil {
			return
		}
		l.skewed[host] = wrong
	}
}

func (l *leader) keep(r plan.Result) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.decisions, l.pending, l.verdicts, l.rounds = r.Decisions, r.Pending, r.Verdicts, time.Now()
	if l.skewed == nil {
		l.skewed = map[string]bool{}
	}
}

// rest forgets the decisions of a leadership that has ended.
func (l *leader) rest() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.decisions, l.pending, l.verdicts, l.skewed, l.rounds = nil, nil, nil, nil, time.Time{}
}

// judged returns a copy of how the canary does, by the last round.
func (l *leader) judged() map[string]plan.Verdict {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.verdicts)
}

// latest returns copies of the last round's decisions and waits, and when it
// was; zero before the first of this leadership and after its end.
func (l *leader) latest() (map[string]autoscale.Decision, map[string]string, time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.decisions), maps.Clone(l.pending), l.rounds
}
