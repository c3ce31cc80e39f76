package state

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// change is one proposal on its way into the state.
type change struct {
	Cluster
	index uint64
	now   time.Time
}

// Apply returns the cluster after a proposal that stands at an index of the
// log, and one error a command: nil where it was carried out, ErrRefused
// wrapped where it did not fit, which changes nothing and stops none of the
// others.
func Apply(c Cluster, index uint64, p Proposal) (Cluster, []error) {
	// A proposer whose clock is behind must not make time go back: cooldowns
	// and back-offs are differences of these times.
	now := p.At
	if now.Before(c.Time) {
		now = c.Time
	}
	ch := &change{Cluster: c, index: index, now: now}
	ch.Time, ch.Index = now, index
	errs := make([]error, len(p.Commands))
	for i, cmd := range p.Commands {
		if err := cmd.apply(ch); err != nil {
			errs[i] = fmt.Errorf("%s: %w", cmd.kind(), err)
		}
	}
	return ch.Cluster, errs
}

func refuse(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrRefused, fmt.Sprintf(format, args...))
}

func (ch *change) event(e Event) {
	ch.LastEvent++
	e.Seq, e.At = ch.LastEvent, ch.now
	ch.Events = ch.Events.Put(eventKey(e.Seq), e)
	for ch.Events.Len() > MaxEvents {
		oldest, _, _ := ch.Events.First()
		ch.Events = ch.Events.Delete(oldest)
	}
}

// eventKey sorts like the number.
func eventKey(seq uint64) string { return fmt.Sprintf("%016x", seq) }

func (cmd Found) apply(ch *change) error {
	if cmd.ID == "" {
		return refuse("a cluster needs an id")
	}
	if ch.ID != "" {
		return refuse("cluster %s has begun already", ch.ID)
	}
	ch.ID = cmd.ID
	ch.event(Event{Kind: EventClusterStarted, Message: "cluster " + cmd.ID + " begins"})
	return nil
}

func (cmd SetSpec) apply(ch *change) error {
	old := ch.Spec
	if cmd.Base != old.Revision {
		return refuse("the spec was made from revision %d, revision %d is in force", cmd.Base, old.Revision)
	}
	if h, ok := ch.Hosts.Get(cmd.Host); ok && h.SpecError != "" {
		h.SpecError = ""
		ch.Hosts = ch.Hosts.Put(h.Name, h)
	}
	if cmd.Spec.Hash == old.Hash && cmd.Spec.Source == old.Source && old.Revision > 0 {
		return nil
	}
	if cmd.By != "" {
		ch.end(ReleaseSuperseded, "")
	}
	ch.endCanary(CanaryAborted, fmt.Sprintf("revision %d came in between", old.Revision+1))
	ch.install(cmd.Spec)
	// Proposals of daemons that knew no releases give none.
	if cmd.By != "" {
		ch.begin(old, Release{By: cmd.By})
	}
	ch.event(Event{Kind: EventSpecAccepted, Host: cmd.Host,
		Message: fmt.Sprintf("spec revision %d is in force: %s", ch.Spec.Revision, difference(old, ch.Spec))})
	return nil
}

// adoptService gives a new or changed service its count. A live count that
// the load has found stays: an edit must not reset it.
func (ch *change) adoptService(old, s Service) {
	scale, known := ch.Scales.Get(s.Name)
	scale.Service = s.Name
	switch {
	case s.Autoscale == nil && scale.Hold == nil:
		scale.Desired = s.Replicas
	case s.Autoscale != nil && (!known || old.Autoscale == nil && scale.Hold == nil):
		scale.Desired = min(max(s.Replicas, s.Autoscale.Min), s.Autoscale.Max)
	}
	if s.Stateful {
		scale.Desired = min(scale.Desired, 1)
	}
	if scale.Hold != nil {
		ch.fitHold(&scale, s)
	}
	ch.Scales = ch.Scales.Put(s.Name, scale)
	if old.Hash != s.Hash {
		// What failed was the old definition; try the new one at once.
		ch.Failures = ch.Failures.Delete(s.Name)
	}
}

// fitHold moves a count that an operator holds into the bounds of a changed
// service, where it could not have been set.
func (ch *change) fitHold(scale *Scale, s Service) {
	held := *scale.Hold
	fit := held
	switch {
	case s.Stateful:
		fit = min(held, 1)
	case s.Autoscale != nil:
		fit = min(max(held, s.Autoscale.Min), s.Autoscale.Max)
	}
	if fit == held {
		return
	}
	scale.Hold, scale.Desired = &fit, fit
	ch.event(Event{Kind: EventHeld, Service: s.Name,
		Message: fmt.Sprintf("%s is held at %d: the %d it was held at is outside of its new bounds", s.Name, fit, held)})
}

// difference says in words what changed between two specs.
func difference(old, now Spec) string {
	var added, changed, removed []string
	for _, name := range slices.Sorted(maps.Keys(now.Services)) {
		before, was := old.Services[name]
		switch {
		case !was:
			added = append(added, name)
		case before.Hash != now.Services[name].Hash:
			changed = append(changed, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(old.Services)) {
		if _, is := now.Services[name]; !is {
			removed = append(removed, name)
		}
	}
	var parts []string
	for _, p := range []struct {
		word  string
		names []string
	}{{"new", added}, {"new definition of", changed}, {"without", removed}} {
		if len(p.names) > 0 {
			parts = append(parts, p.word+" "+strings.Join(p.names, ", "))
		}
	}
	if old.Hash == now.Hash {
		return "only its text changed"
	}
	if len(parts) == 0 {
		return "policies or sites changed, no container did"
	}
	return strings.Join(parts, "; ")
}

func (cmd ReportSpecError) apply(ch *change) error {
	h, ok := ch.Hosts.Get(cmd.Host)
	if !ok {
		return refuse("host %q is not part of the cluster", cmd.Host)
	}
	if h.SpecError == cmd.Problem {
		return nil
	}
	h.SpecError = cmd.Problem
	ch.Hosts = ch.Hosts.Put(h.Name, h)
	if cmd.Problem != "" {
		ch.event(Event{Kind: EventSpecRejected, Host: h.Name,
			Message: fmt.Sprintf("the edit is not in force, revision %d goes on: %s", ch.Spec.Revision, cmd.Problem)})
	}
	return nil
}

func (cmd ScaleTo) apply(ch *change) error {
	scale, ok := ch.Scales.Get(cmd.Service)
	d := cmd.Decision
	switch {
	case !ok:
		return refuse("there is no service %q", cmd.Service)
	case scale.Desired != d.From:
		return refuse("%s stands at %d, the decision started from %d", cmd.Service, scale.Desired, d.From)
	case scale.Hold != nil && *scale.Hold != d.To:
		return refuse("%s is held at %d by an operator", cmd.Service, *scale.Hold)
	case !d.Changes():
		return refuse("the decision changes nothing")
	}
	kind := EventScaledOut
	if d.To > d.From {
		scale.LastOut = ch.now
	} else {
		kind, scale.LastIn = EventScaledIn, ch.now
	}
	scale.Desired, scale.Decision = d.To, d
	ch.Scales = ch.Scales.Put(cmd.Service, scale)
	ch.event(Event{Kind: kind, Service: cmd.Service, Message: d.Sentence(cmd.Service)})
	return nil
}

func (cmd Hold) apply(ch *change) error {
	s, ok := ch.Spec.Services[cmd.Service]
	if !ok {
		return refuse("there is no service %q", cmd.Service)
	}
	scale, _ := ch.Scales.Get(cmd.Service)
	scale.Service = cmd.Service
	if cmd.Count == nil {
		scale.Hold = nil
		if s.Autoscale == nil {
			scale.Desired = s.Replicas
		}
		ch.Scales = ch.Scales.Put(cmd.Service, scale)
		ch.event(Event{Kind: EventReleased, Service: cmd.Service, Message: fmt.Sprintf("%s is no longer held; it stands at %d", cmd.Service, scale.Desired)})
		return nil
	}
	n := *cmd.Count
	switch {
	case n < 0:
		return refuse("%d is no count of instances", n)
	case s.Stateful && n > 1:
		return refuse("%s owns data and is never duplicated: 0 or 1", cmd.Service)
	case s.Autoscale != nil && (n < s.Autoscale.Min || n > s.Autoscale.Max):
		return refuse("%d is outside of %s's bounds: x-autoscale.min %d, max %d", n, cmd.Service, s.Autoscale.Min, s.Autoscale.Max)
	}
	before := scale.Desired
	scale.Hold, scale.Desired = &n, n
	ch.Scales = ch.Scales.Put(cmd.Service, scale)
	ch.event(Event{Kind: EventHeld, Service: cmd.Service, Message: fmt.Sprintf("%s is held at %d by an operator (it stood at %d)", cmd.Service, n, before)})
	return nil
}

func (cmd ConfirmRoutes) apply(ch *change) error {
	h, ok := ch.Hosts.Get(cmd.Host)
	if !ok {
		return refuse("host %q is not part of the cluster", cmd.Host)
	}
	h.Routes = max(h.Routes, cmd.Index)
	for _, s := range slices.Sorted(maps.Keys(cmd.Rejected)) {
		if h.RejectedSites[s] != cmd.Rejected[s] {
			ch.event(Event{Kind: EventSiteRejected, Service: s, Host: h.Name,
				Message: fmt.Sprintf("nginx on %s refuses the site of %s, its last good form goes on: %s", h.Name, s, cmd.Rejected[s])})
		}
	}
	for _, s := range slices.Sorted(maps.Keys(h.RejectedSites)) {
		if _, still := cmd.Rejected[s]; !still {
			ch.event(Event{Kind: EventSiteAccepted, Service: s, Host: h.Name,
				Message: fmt.Sprintf("nginx on %s serves the site of %s again", h.Name, s)})
		}
	}
	h.RejectedSites = maps.Clone(cmd.Rejected)
	ch.Hosts = ch.Hosts.Put(h.Name, h)
	return nil
}

func (cmd Note) apply(ch *change) error {
	ch.event(cmd.Event)
	return nil
}
