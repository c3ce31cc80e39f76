package agenttest

import (
	"fmt"
	"time"

	"github.com/supervisord/supervisord/supervisor/agent"
)

// This file has what happens to an engine and its containers from outside:
// accidents, operators, other programs.

// Crash ends a running container with an exit code; false when it does not
// run.
func (e *Engine) Crash(id string, code int) bool { return e.kill(id, code, false) }

// OOM ends a running container for lack of memory.
func (e *Engine) OOM(id string) bool { return e.kill(id, 137, true) }

func (e *Engine) kill(id string, code int, oom bool) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	k, ok := e.containers[id]
	if !ok || !k.Running {
		return false
	}
	e.end(k, code, oom, Outside)
	return true
}

// SetSick makes a container stop answering its checks, or answer again. It
// goes on running.
func (e *Engine) SetSick(id string, sick bool) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	k, ok := e.containers[id]
	if !ok || !k.Running {
		return false
	}
	k.sick = sick
	e.health(k)
	return true
}

// StartByHand starts a container that has ended, as an operator might.
func (e *Engine) StartByHand(id string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	k, ok := e.containers[id]
	if !ok || k.Running {
		return false
	}
	e.begin(k, Outside)
	return true
}

// RemoveByHand removes a container whatever it does.
func (e *Engine) RemoveByHand(id string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	k, ok := e.containers[id]
	if !ok {
		return false
	}
	if k.Running {
		e.end(k, 137, false, Outside)
	}
	e.drop(k, Outside)
	return true
}

// AddForeign runs a container that is not this cluster's, with a name and, if
// not "", a published "IP:port". It returns its id.
func (e *Engine) AddForeign(name, address string) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.made++
	id := fmt.Sprintf("foreign%06d", e.made)
	k := &container{Container: agent.Container{ID: id, Name: name, Address: address}, foreign: true, restart: "unless-stopped"}
	e.containers[id] = k
	k.Running, k.PID, k.StartedAt, k.ended = true, 1000+e.made, time.Now(), make(chan struct{})
	return id
}

// AddOwn runs a container with our labels, as a daemon that was killed may
// have left it behind.
func (e *Engine) AddOwn(l agent.Launch, address string) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.made++
	id := fmt.Sprintf("%s%06d", e.o.Host, e.made)
	k := &container{Container: agent.Container{
		ID: id, Name: l.Name, Instance: l.Instance, Service: l.Service, Revision: l.Revision, Address: address,
		CPULimit: l.Spec.Resources.CPULimit, MemoryLimit: l.Spec.Resources.MemoryLimit,
	}, behave: e.o.Behave(l), checked: l.Spec.Healthcheck != nil}
	e.containers[id] = k
	e.begin(k, Outside)
	return id
}

// TakePort has another program listen on "IP:port", or let it go.
func (e *Engine) TakePort(address string, taken bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if taken {
		e.foreignPorts[address] = true
	} else {
		delete(e.foreignPorts, address)
	}
}

// BreakStreams breaks all event streams.
func (e *Engine) BreakStreams() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.breakStreams()
}

func (e *Engine) breakStreams() {
	for w := range e.watchers {
		close(w.broken)
		delete(e.watchers, w)
	}
}

// Restart takes the engine down for a while: streams break and calls fail.
// Containers go on running (live-restore), or all end and stay ended.
func (e *Engine) Restart(outage time.Duration, live bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.down != nil {
		return
	}
	down := make(chan struct{})
	e.down = down
	e.breakStreams()
	if !live {
		for _, k := range e.containers {
			if k.Running && !k.foreign {
				e.end(k, 0, false, Outside)
				k.staleUntil = time.Time{}
			}
		}
	}
	time.AfterFunc(outage, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.down = nil
		close(down)
	})
}
