package state

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

func (cmd Survey) apply(ch *change) error {
	h, err := ch.host(cmd.Host)
	if err != nil {
		return err
	}
	first := h.Surveyed != cmd.Project
	h.Surveyed, h.Foreign = cmd.Project, slices.Clone(cmd.Foreign)
	ch.Hosts = ch.Hosts.Put(h.Name, h)
	if first {
		for _, name := range slices.Sorted(maps.Keys(ch.Spec.Services)) {
			ch.await(name)
		}
	}
	for t := range ch.Takeovers.Values() {
		if _, left := ch.ForeignOf(t.Service); t.State == TakeoverWaiting && len(left) == 0 {
			ch.Takeovers = ch.Takeovers.Delete(t.Service)
			ch.event(Event{Kind: EventTakeover, Service: t.Service,
				Message: fmt.Sprintf("what docker compose ran of %s is gone: %s is started", t.Service, t.Service)})
		}
	}
	return nil
}

// await holds a service back that has never run here while docker compose runs
// it: starting it beside would share its data and its ports.
func (ch *change) await(service string) {
	if _, decided := ch.Takeovers.Get(service); decided {
		return
	}
	for range ch.Of(service) {
		return
	}
	_, found := ch.ForeignOf(service)
	if len(found) == 0 {
		return
	}
	ch.Takeovers = ch.Takeovers.Put(service, Takeover{Service: service, State: TakeoverWaiting, Since: ch.now})
	ch.event(Event{Kind: EventTakeover, Service: service,
		Message: fmt.Sprintf("docker compose runs %s as %s: nothing is started beside it until an operator decides (supervisord adopt)", service, namesOf(found))})
}

func namesOf(all []Foreign) string {
	var names []string
	for _, f := range all {
		names = append(names, f.Name)
	}
	return strings.Join(names, ", ")
}

func (cmd Adopt) apply(ch *change) error {
	if len(cmd.Containers) == 0 {
		return refuse("there is nothing to adopt")
	}
	more := map[string]int{}
	seen := map[string]bool{}
	for _, a := range cmd.Containers {
		if err := ch.adoptable(a); err != nil {
			return err
		}
		if seen[a.Container] {
			return refuse("%s is named twice", a.Name)
		}
		seen[a.Container] = true
		more[a.Service]++
	}
	services := slices.Sorted(maps.Keys(more))
	for _, name := range services {
		if err := ch.roomFor(name, more[name]); err != nil {
			return err
		}
	}
	for _, a := range cmd.Containers {
		ch.adopt(a, cmd.By)
	}
	for _, name := range services {
		t, _ := ch.Takeovers.Get(name)
		ch.Takeovers = ch.Takeovers.Put(name, Takeover{Service: name, State: TakeoverAdopted, Since: ch.now, Gone: t.Gone})
		// What failed did so beside what is now ours.
		ch.Failures = ch.Failures.Delete(name)
	}
	return nil
}

func (ch *change) adoptable(a Adoptee) error {
	s, ok := ch.Spec.Services[a.Service]
	if !ok {
		return refuse("there is no service %q", a.Service)
	}
	h, err := ch.host(a.Host)
	switch home, has := ch.Homes.Get(a.Service); {
	case err != nil:
		return err
	case a.Container == "" || a.Name == "":
		return refuse("a container has an id and a name")
	case h.IsLost():
		return refuse("host %s is lost", h.Name)
	case s.Stateful && has && home.Host != h.Name:
		return refuse("the data of %s is on %s", a.Service, home.Host)
	}
	for i := range ch.Instances.Values() {
		if i.Container == a.Container {
			return refuse("%s is instance %s already", a.Name, i.Name)
		}
	}
	return nil
}

// roomFor says why a service cannot have n more instances. They would not stay:
// who is over the wanted count is drained.
func (ch *change) roomFor(service string, n int) error {
	s := ch.Spec.Services[service]
	scale, _ := ch.Scales.Get(service)
	present := 0
	for range ch.Of(service) {
		present++
	}
	after := ch.active(service) + n
	switch {
	case s.Stateful && present+n > 1:
		return refuse("%s owns data and is never duplicated, it would have %d instances", service, present+n)
	case scale.Hold != nil && after > *scale.Hold:
		return refuse("%s is held at %d by an operator, with what is adopted there would be %d", service, *scale.Hold, after)
	case s.Autoscale != nil && after > s.Autoscale.Max:
		return refuse("x-autoscale.max of %s is %d, with what is adopted there would be %d; raise it, or adopt fewer (--container)", service, s.Autoscale.Max, after)
	case s.Autoscale == nil && after > scale.Desired:
		return refuse("deploy.replicas of %s is %d, with what is adopted there would be %d; raise it, or adopt fewer (--container)", service, scale.Desired, after)
	}
	return nil
}

func (ch *change) adopt(a Adoptee, by string) {
	s := ch.Spec.Services[a.Service]
	slot := ch.freeSlot(a.Service)
	i := Instance{
		ID: InstanceID(a.Service, slot, ch.index), Name: InstanceName(a.Service, slot), Service: a.Service, Slot: slot,
		Host: a.Host, Revision: s.Hash, Phase: Assigned, PhaseAt: ch.now, PhaseIndex: ch.index, PlacedAt: ch.now,
		Container: a.Container, Address: a.Address, Adopted: Adoption{Name: a.Name, Restart: a.Restart},
		Reason: "adopted by " + by,
	}
	ch.Instances = ch.Instances.Put(i.ID, i)
	if s.Stateful {
		ch.Homes = ch.Homes.Put(s.Name, Home{Service: s.Name, Host: a.Host})
	}
	if scale, _ := ch.Scales.Get(a.Service); scale.Desired < ch.active(a.Service) {
		// Only an autoscaled service comes here; the load decides from there.
		scale.Desired = ch.active(a.Service)
		ch.Scales = ch.Scales.Put(a.Service, scale)
	}
	ch.event(Event{Kind: EventTakeover, Service: a.Service, Instance: i.Name, Host: a.Host,
		Message: fmt.Sprintf("container %s (%.12s) is adopted as %s by %s", a.Name, a.Container, i.Name, by)})
}

// active counts the instances of a service that serve, or will, a canary's apart.
func (c Cluster) active(service string) int {
	n := 0
	for i := range c.Stable(service) {
		if i.Active() {
			n++
		}
	}
	return n
}

// freeSlot is the smallest number that no instance of the service has.
func (ch *change) freeSlot(service string) int {
	used := map[int]bool{}
	for i := range ch.Of(service) {
		used[i.Slot] = true
	}
	slot := 1
	for used[slot] {
		slot++
	}
	return slot
}

// adoptedOf are the adopted instances of services, or of all.
func (ch *change) adoptedOf(services []string) (all []Instance, err error) {
	for _, name := range services {
		if _, ok := ch.Spec.Services[name]; !ok {
			return nil, refuse("there is no service %q", name)
		}
	}
	for i := range ch.Instances.Values() {
		if i.IsAdopted() && (len(services) == 0 || slices.Contains(services, i.Service)) {
			all = append(all, i)
		}
	}
	return all, nil
}

func (cmd FinishAdoption) apply(ch *change) error {
	all, err := ch.adoptedOf(cmd.Services)
	if err != nil {
		return err
	}
	all = slices.DeleteFunc(all, func(i Instance) bool { return !i.Active() || i.Revision == RevisionAdopted })
	if len(all) == 0 {
		return refuse("there is no adopted instance that is not being replaced already")
	}
	for _, i := range all {
		i.Revision = RevisionAdopted
		ch.Instances = ch.Instances.Put(i.ID, i)
		if t, _ := ch.Takeovers.Get(i.Service); t.State != TakeoverFinishing {
			ch.Takeovers = ch.Takeovers.Put(i.Service, Takeover{Service: i.Service, State: TakeoverFinishing, Since: ch.now, Gone: t.Gone})
			ch.event(Event{Kind: EventTakeover, Service: i.Service,
				Message: fmt.Sprintf("what was adopted of %s is replaced by our own, asked for by %s", i.Service, cmd.By)})
		}
	}
	return nil
}

func (cmd ReturnAdopted) apply(ch *change) error {
	all, err := ch.adoptedOf(cmd.Services)
	if err != nil {
		return err
	}
	services := map[string]bool{}
	var gone []string
	for t := range ch.Takeovers.Values() {
		if len(cmd.Services) == 0 || slices.Contains(cmd.Services, t.Service) {
			gone = append(gone, t.Gone...)
			if t.State == TakeoverReturned && cmd.Own && ch.active(t.Service) > 0 {
				services[t.Service] = true
			}
		}
	}
	leaving := slices.DeleteFunc(all, func(i Instance) bool {
		if !i.Active() && !i.Adopted.Return {
			gone = append(gone, i.Adopted.Name)
		}
		return !i.Active()
	})
	switch {
	case len(gone) > 0 && !cmd.Partly:
		return refuse("%s cannot be given back: it was stopped and removed since it was adopted; --partly gives back the rest", strings.Join(gone, ", "))
	case len(leaving) == 0 && len(services) == 0:
		return refuse("there is no adopted instance to give back")
	}
	for _, i := range leaving {
		services[i.Service] = true
		i.Adopted.Return = true
		ch.enter(i, Draining, "it is given back")
		ch.event(Event{Kind: EventTakeover, Service: i.Service, Instance: i.Name, Host: i.Host,
			Message: fmt.Sprintf("%s leaves nginx and is given back as container %s, asked for by %s", i.Name, i.Adopted.Name, cmd.By)})
	}
	for _, name := range slices.Sorted(maps.Keys(services)) {
		ch.Takeovers = ch.Takeovers.Put(name, Takeover{Service: name, State: TakeoverReturned, Since: ch.now})
		for i := range ch.Stable(name) {
			if cmd.Own && i.Active() {
				why := "what was adopted of " + name + " is given back"
				ch.enter(i, Draining, why)
				ch.event(Event{Kind: EventInstanceDraining, Service: i.Service, Instance: i.Name, Host: i.Host,
					Message: fmt.Sprintf("%s gets no new requests: %s", i.Name, why)})
			}
		}
	}
	return nil
}

func (cmd IgnoreForeign) apply(ch *change) error {
	n := 0
	for t := range ch.Takeovers.Values() {
		waits := t.State == TakeoverWaiting || t.State == TakeoverReturned
		if !waits || len(cmd.Services) > 0 && !slices.Contains(cmd.Services, t.Service) {
			continue
		}
		n++
		ch.Takeovers = ch.Takeovers.Put(t.Service, Takeover{Service: t.Service, State: TakeoverIgnored, Since: ch.now})
		ch.event(Event{Kind: EventTakeover, Service: t.Service,
			Message: fmt.Sprintf("%s is started beside what another tool runs of it, asked for by %s", t.Service, cmd.By)})
	}
	if n == 0 {
		return refuse("no service of these waits for a decision")
	}
	return nil
}

// giveBack ends the adoption of a container that did not become ready: it is
// left as it was, and nothing of its service is started beside it.
func (ch *change) giveBack(i Instance, why string) {
	i.Adopted.Return = true
	ch.enter(i, Failed, why)
	ch.Takeovers = ch.Takeovers.Put(i.Service, Takeover{Service: i.Service, State: TakeoverReturned, Since: ch.now})
	ch.event(Event{Kind: EventTakeover, Service: i.Service, Instance: i.Name, Host: i.Host,
		Message: fmt.Sprintf("container %s is given back as it is: %s", i.Adopted.Name, why)})
}

// goneAdopted notes the end of an adopted instance, and of the takeover with the
// last one.
func (ch *change) goneAdopted(i Instance) {
	if i.Adopted.Return {
		ch.event(Event{Kind: EventTakeover, Service: i.Service, Instance: i.Name, Host: i.Host,
			Message: fmt.Sprintf("container %s is given back, with its restart policy", i.Adopted.Name)})
		return
	}
	t, ok := ch.Takeovers.Get(i.Service)
	if !ok {
		return
	}
	t.Gone = append(slices.Clone(t.Gone), i.Adopted.Name)
	ch.Takeovers = ch.Takeovers.Put(t.Service, t)
	for other := range ch.Of(i.Service) {
		if other.IsAdopted() {
			return
		}
	}
	if t.State == TakeoverAdopted || t.State == TakeoverFinishing {
		ch.Takeovers = ch.Takeovers.Delete(t.Service)
		ch.event(Event{Kind: EventTakeover, Service: i.Service, Message: "nothing adopted is left of " + i.Service + ": what runs is our own"})
	}
}
