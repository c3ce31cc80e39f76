package agent

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"
)

// settling is how long the engine's list may contradict what was seen done.
const settling = 5 * time.Second

// view is what this agent knows of the engine's containers: the last list,
// brought up to date by events and by the agent's own deeds. A container that
// was seen to die stays dead whatever a list says, because lists are stale
// for some hundred milliseconds after a death.
type view struct {
	mu sync.Mutex
	// synced since the first list; due is when the next should be had.
	synced     bool
	due        time.Time
	containers map[string]seen
	ends       map[string]Event
	ooms       map[string]bool
	removed    map[string]time.Time
	sick       map[string]string
	well       map[string]bool
}

// seen is a container with the time it was first seen, and the time of the
// last news of it other than a list.
type seen struct {
	Container
	added, news time.Time
}

func newView() *view {
	return &view{
		containers: map[string]seen{},
		ends:       map[string]Event{},
		ooms:       map[string]bool{},
		removed:    map[string]time.Time{},
		sick:       map[string]string{},
		well:       map[string]bool{},
	}
}

// local returns what is known; false before the first list.
func (v *view) local(host string, now time.Time) (Local, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	l := Local{Host: host, Sick: maps.Clone(v.sick), Well: maps.Clone(v.well), Now: now}
	for _, c := range v.containers {
		l.Containers = append(l.Containers, c.Container)
	}
	slices.SortFunc(l.Containers, func(a, b Container) int { return cmp.Compare(a.ID, b.ID) })
	return l, v.synced
}

func (v *view) get(instance string) (Container, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, c := range v.containers {
		if c.Instance == instance {
			return c.Container, true
		}
	}
	return Container{}, false
}

// list takes in a whole list that the engine was asked for at a time. What is
// newer than the question is not in the answer.
func (v *view) list(containers []Container, asked, now time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	fresh := map[string]seen{}
	for _, c := range containers {
		if at, gone := v.removed[c.ID]; gone && now.Sub(at) < settling {
			continue
		}
		was, known := v.containers[c.ID]
		if !known {
			was.added = now
		}
		if known && !was.news.Before(asked) {
			fresh[c.ID] = was
			continue
		}
		if c.Running && c.PID == 0 {
			c.PID = was.PID
		}
		fresh[c.ID] = seen{v.withEnd(c), was.added, was.news}
	}
	for id, c := range v.containers {
		if _, listed := fresh[id]; !listed && now.Sub(c.added) < settling {
			fresh[id] = c
		}
	}
	v.containers, v.synced, v.due = fresh, true, now.Add(relistEvery)
	v.forget(now)
}

// listBy says that a list is needed by then at the latest.
func (v *view) listBy(at time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.due.IsZero() || at.Before(v.due) {
		v.due = at
	}
}

// listDue says whether a list is needed now; one that is being asked for is
// needed again after a pause, should it fail.
func (v *view) listDue(now time.Time) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if now.Before(v.due) {
		return false
	}
	v.due = now.Add(retryAfter)
	return true
}

// forget drops notes on containers that are long gone.
func (v *view) forget(now time.Time) {
	for id, at := range v.removed {
		if now.Sub(at) >= settling {
			delete(v.removed, id)
		}
	}
	for id, e := range v.ends {
		if _, here := v.containers[id]; !here && now.Sub(e.At) > time.Hour {
			delete(v.ends, id)
			delete(v.ooms, id)
		}
	}
}

func (v *view) withEnd(c Container) Container {
	if end, ended := v.ends[c.ID]; ended {
		c.Running, c.PID, c.ExitCode, c.EndedAt = false, 0, end.ExitCode, end.At
		c.OOMKilled = c.OOMKilled || v.ooms[c.ID]
	}
	return c
}

// put takes in one container as it was just created or inspected.
func (v *view) put(c Container, now time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	was, known := v.containers[c.ID]
	if !known {
		was.added = now
	}
	v.containers[c.ID] = seen{v.withEnd(c), was.added, now}
}

// remove takes in that a container is gone.
func (v *view) remove(id string, now time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.containers, id)
	v.removed[id] = now
}

// event takes in what the engine tells.
func (v *view) event(e Event, now time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	c, known := v.containers[e.Container]
	switch e.Kind {
	case OOM:
		v.ooms[e.Container] = true
	case Died:
		v.ends[e.Container] = e
	case Started:
		// Somebody has started a container again by hand.
		delete(v.ends, e.Container)
		delete(v.ooms, e.Container)
		if known && !c.Running {
			c.Running, c.PID = true, 0
		}
	case HealthChanged:
		c.Health = e.Health
	case Removed:
		delete(v.containers, e.Container)
		v.removed[e.Container] = e.At
		return
	}
	if known {
		v.containers[e.Container] = seen{v.withEnd(c.Container), c.added, now}
	}
}

// mark notes whether an instance answers its health check; an empty why means
// that it does. It says whether anything changed.
func (v *view) mark(instance, why string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.sick[instance] == why && v.well[instance] == (why == "") {
		return false
	}
	delete(v.sick, instance)
	delete(v.well, instance)
	if why == "" {
		v.well[instance] = true
	} else {
		v.sick[instance] = why
	}
	return true
}

// unmark forgets the health of an instance that is gone.
func (v *view) unmark(instance string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.sick, instance)
	delete(v.well, instance)
}
