package agenttest

import (
	"context"
	"errors"
	"time"

	"github.com/supervisord/supervisord/supervisor/agent"
)

// watcher is one open event stream.
type watcher struct {
	queue []delivery
	// more has room for one; broken is closed when the stream breaks.
	more   chan struct{}
	broken chan struct{}
}

type delivery struct {
	at    time.Time
	event agent.Event
}

var errBroken = errors.New("unexpected EOF in the event stream")

// Watch implements agent.Watcher.
func (e *Engine) Watch(ctx context.Context, f func(agent.Event)) error {
	w := &watcher{more: make(chan struct{}, 1), broken: make(chan struct{})}
	err := e.call(ctx, Call{"watch", ""}, time.Millisecond, 3*time.Millisecond, func() error {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.watchers[w] = true
		w.queue = append(w.queue, delivery{time.Now(), agent.Event{Kind: agent.Connected, At: time.Now()}})
		return nil
	})
	defer func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		delete(e.watchers, w)
	}()
	if err != nil {
		return err
	}
	for {
		e.mu.Lock()
		var next *delivery
		if len(w.queue) > 0 {
			next = &w.queue[0]
		}
		e.mu.Unlock()
		if next == nil {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-w.broken:
				return errBroken
			case <-w.more:
			}
			continue
		}
		t := time.NewTimer(time.Until(next.at))
		select {
		case <-ctx.Done():
			t.Stop()
			return ctx.Err()
		case <-w.broken:
			t.Stop()
			return errBroken
		case <-t.C:
		}
		e.mu.Lock()
		event := w.queue[0].event
		w.queue = w.queue[1:]
		e.mu.Unlock()
		f(event)
	}
}

// emit sends an event on its way to all who watch. The lock is held.
func (e *Engine) emit(k *container, event agent.Event) {
	if k.foreign && !e.adopted(k) {
		return
	}
	event.At, event.Container, event.Instance = time.Now(), k.ID, k.Instance
	faults, name := e.o.Events, e.o.Host+"/event/"+k.Name
	for w := range e.watchers {
		if e.dice.Chance(name+"/lose", faults.Lose) {
			continue
		}
		at := event.At.Add(e.dice.Between(name+"/late", faults.Delay, faults.Delay+faults.Jitter+time.Millisecond))
		if n := len(w.queue); n > 0 && at.Before(w.queue[n-1].at) {
			at = w.queue[n-1].at
		}
		w.queue = append(w.queue, delivery{at, event})
		if e.dice.Chance(name+"/double", faults.Double) {
			w.queue = append(w.queue, delivery{at, event})
		}
		select {
		case w.more <- struct{}{}:
		default:
		}
	}
}
