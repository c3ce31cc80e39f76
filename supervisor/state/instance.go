package state

import (
	"fmt"
	"slices"
	"time"
)

// The back-off between attempts to run a service whose instances keep
// failing: the first failure is repaired at once, the n-th after
// backoffBase × 2^(n-2), at most backoffMax.
const (
	backoffBase = time.Second
	backoffMax  = time.Minute
	// An instance that served this long ends the streak: its failure is a new
	// trouble, not the old one again.
	streakEnds = time.Minute
	// A streak without any failure for this long is over too.
	streakForgets = 10 * time.Minute
)

func (cmd Place) apply(ch *change) error {
	s, ok := ch.Spec.Services[cmd.Service]
	if !ok {
		return refuse("there is no service %q", cmd.Service)
	}
	if cmd.Revision != s.Hash {
		return refuse("%s has a newer definition", cmd.Service)
	}
	i, err := ch.place(s, cmd)
	if err != nil {
		return err
	}
	if s.Stateful {
		ch.Homes = ch.Homes.Put(s.Name, Home{Service: s.Name, Host: i.Host})
	}
	return nil
}

// place puts an instance of a definition on a host.
func (ch *change) place(s Service, cmd Place) (Instance, error) {
	h, err := ch.host(cmd.Host)
	switch home, has := ch.Homes.Get(cmd.Service); {
	case err != nil:
		return Instance{}, err
	case h.IsLost():
		return Instance{}, refuse("host %s is lost", h.Name)
	case h.Draining && !(s.Stateful && has):
		return Instance{}, refuse("host %s is being drained", h.Name)
	case s.Stateful && has && home.Host != h.Name:
		return Instance{}, refuse("the data of %s is on %s", cmd.Service, home.Host)
	}
	for i := range ch.Of(cmd.Service) {
		if i.Slot == cmd.Slot {
			return Instance{}, refuse("%s is still there (%s)", i.Name, i.Phase)
		}
		if s.Stateful {
			return Instance{}, refuse("%s owns data and %s is still there (%s)", cmd.Service, i.Name, i.Phase)
		}
	}
	i := Instance{
		ID:         InstanceID(cmd.Service, cmd.Slot, ch.index),
		Name:       InstanceName(cmd.Service, cmd.Slot),
		Service:    cmd.Service,
		Slot:       cmd.Slot,
		Host:       cmd.Host,
		Revision:   cmd.Revision,
		Phase:      Assigned,
		PhaseAt:    ch.now,
		PhaseIndex: ch.index,
		PlacedAt:   ch.now,
		Reason:     cmd.Why,
	}
	ch.Instances = ch.Instances.Put(i.ID, i)
	return i, nil
}

func (cmd Observe) apply(ch *change) error {
	i, ok := ch.Instances.Get(cmd.ID)
	if !ok {
		return refuse("there is no instance %q", cmd.ID)
	}
	switch {
	case cmd.Phase == Starting && i.Phase == Assigned:
		i.Container, i.Address = cmd.Container, cmd.Address
	case cmd.Phase == Ready && (i.Phase == Starting || i.Phase == Assigned):
		i.Container, i.Address = cmd.Container, cmd.Address
		ch.event(Event{Kind: EventInstanceReady, Service: i.Service, Instance: i.Name, Host: i.Host,
			Message: fmt.Sprintf("%s is ready %s after it was placed", i.Name, Brief(ch.now.Sub(i.PlacedAt)))})
	default:
		return refuse("%s is %s and cannot become %s", i.Name, i.Phase, cmd.Phase)
	}
	ch.enter(i, cmd.Phase, "")
	return nil
}

func (cmd Fail) apply(ch *change) error {
	i, ok := ch.Instances.Get(cmd.ID)
	if !ok {
		return refuse("there is no instance %q", cmd.ID)
	}
	if !i.Active() {
		return refuse("%s is %s and cannot fail", i.Name, i.Phase)
	}
	if cmd.Sick && !i.Canary && !ch.MayGiveUp(i.Service, ch.now) {
		return refuse("%s is sick, and another one of %s is being replaced", i.Name, i.Service)
	}
	if i.Canary {
		ch.failCanary(i, cmd)
		return nil
	}
	if cmd.Return && i.IsAdopted() {
		ch.giveBack(i, cmd.Reason)
		return nil
	}
	f, _ := ch.Failures.Get(i.Service)
	served := i.Phase == Ready && ch.now.Sub(i.PhaseAt) >= streakEnds
	if served || ch.now.Sub(f.Last) >= streakForgets {
		f.Count = 0
	}
	f = FailureStreak{Service: i.Service, Count: f.Count + 1, Last: ch.now, Reason: cmd.Reason, Host: i.Host, TakenSlots: f.TakenSlots}
	f.Retry = ch.now.Add(Backoff(f.Count))
	if cmd.NameTaken && !slices.Contains(f.TakenSlots, i.Slot) {
		f.TakenSlots = append(slices.Clone(f.TakenSlots), i.Slot)
	}
	ch.Failures = ch.Failures.Put(i.Service, f)
	ch.blame(i, cmd)
	ch.enter(i, Failed, cmd.Reason)
	next := "it is replaced at once"
	if wait := f.Retry.Sub(ch.now); wait > 0 {
		next = fmt.Sprintf("failure %d in a row, next attempt in %s", f.Count, Brief(wait))
	}
	ch.event(Event{Kind: EventInstanceFailed, Service: i.Service, Instance: i.Name, Host: i.Host,
		Message: fmt.Sprintf("%s failed: %s; %s", i.Name, cmd.Reason, next)})
	return nil
}

// placeWithin is how long a failure may take to be answered by an instance in
// its place: the leader has to see it first.
const placeWithin = 5 * time.Second

// MayGiveUp says whether a sick instance of the service may be failed now. As
// long as another one is being replaced it may not: when all look sick at once
// it is the check, or something they share, that is at fault, and taking them
// all out would make an outage of it. So they go one at a time, each only
// after the one before has been replaced by a well one.
func (c Cluster) MayGiveUp(service string, now time.Time) bool {
	for i := range c.Stable(service) {
		if i.Phase == Assigned || i.Phase == Starting {
			return false
		}
	}
	f, failed := c.Failures.Get(service)
	return !failed || now.Sub(f.Last) >= placeWithin && now.Sub(f.Retry) >= placeWithin
}

// Backoff is how long to wait after the n-th failure in a row.
func Backoff(n int) time.Duration {
	if n < 2 {
		return 0
	}
	d := backoffBase
	for ; n > 2 && d < backoffMax; n-- {
		d *= 2
	}
	return min(d, backoffMax)
}

func (cmd Drain) apply(ch *change) error {
	i, ok := ch.Instances.Get(cmd.ID)
	if !ok {
		return refuse("there is no instance %q", cmd.ID)
	}
	if !i.Active() {
		return refuse("%s is %s already", i.Name, i.Phase)
	}
	if scale, _ := ch.Scales.Get(i.Service); cmd.Desired > 0 && scale.Desired > cmd.Desired {
		return refuse("%d of %s are wanted by now, not %d", scale.Desired, i.Service, cmd.Desired)
	}
	if left := ch.readyBeside(i); left < cmd.KeepReady {
		return refuse("without %s only %d of %s would be ready, %d must stay", i.Name, left, i.Service, cmd.KeepReady)
	}
	ch.enter(i, Draining, cmd.Why)
	ch.event(Event{Kind: EventInstanceDraining, Service: i.Service, Instance: i.Name, Host: i.Host,
		Message: fmt.Sprintf("%s gets no new requests: %s", i.Name, cmd.Why)})
	return nil
}

// readyBeside counts the other ready instances of its service.
func (ch *change) readyBeside(i Instance) int {
	n := 0
	for other := range ch.Stable(i.Service) {
		if other.Phase == Ready && other.ID != i.ID {
			n++
		}
	}
	return n
}

func (cmd Gone) apply(ch *change) error {
	i, ok := ch.Instances.Get(cmd.ID)
	if !ok {
		// Reported twice: the state is as the reporter wants it.
		return nil
	}
	if i.Active() {
		return refuse("%s is %s; it must drain or fail before it goes", i.Name, i.Phase)
	}
	ch.Instances = ch.Instances.Delete(i.ID)
	if i.IsAdopted() {
		ch.goneAdopted(i)
	}
	if i.Phase == Draining && !i.Adopted.Return {
		ch.event(Event{Kind: EventInstanceGone, Service: i.Service, Instance: i.Name, Host: i.Host,
			Message: fmt.Sprintf("%s drained and stopped in %s", i.Name, Brief(ch.now.Sub(i.PhaseAt)))})
	}
	return nil
}

func (ch *change) enter(i Instance, p Phase, reason string) {
	i.Phase, i.PhaseAt, i.PhaseIndex = p, ch.now, ch.index
	i.Sick, i.SickSince = "", time.Time{}
	if reason != "" {
		i.Reason = reason
	}
	ch.Instances = ch.Instances.Put(i.ID, i)
}

// Brief prints a duration for a sentence.
func Brief(d time.Duration) string {
	if d < time.Second {
		return d.Round(time.Millisecond).String()
	}
	return d.Round(100 * time.Millisecond).String()
}
