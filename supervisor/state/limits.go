package state

import (
	"fmt"
	"reflect"
	"time"
)

// Relimit makes a running instance one of a newer definition that differs from
// its own only in limits: its host changes them while it runs. Was is the
// definition that it had.
type Relimit struct {
	second
	ID       string `json:"id"`
	Was      string `json:"was"`
	Revision string `json:"revision"`
}

// Relimited says that the limits of an instance's definition are in force; or,
// with a Problem, that they cannot be while it runs.
type Relimited struct {
	second
	ID       string `json:"id"`
	Revision string `json:"revision"`
	Problem  string `json:"problem,omitempty"`
}

func (Relimit) kind() string   { return "relimit" }
func (Relimited) kind() string { return "relimited" }

// OnlyLimits says whether two definitions of a service differ in nothing but
// limits that an engine can change while a container runs. It can set a limit
// anew, but not take one away.
func OnlyLimits(was, now Service) bool {
	a, b := was.Container.Resources, now.Container.Resources
	was.Container.Resources, now.Container.Resources = Resources{}, Resources{}
	kept := func(was, now float64) bool { return was == 0 || now != 0 }
	return kept(a.CPULimit, b.CPULimit) && kept(a.CPUReservation, b.CPUReservation) &&
		kept(float64(a.MemoryLimit), float64(b.MemoryLimit)) && kept(float64(a.MemoryReservation), float64(b.MemoryReservation)) &&
		kept(float64(a.PidsLimit), float64(b.PidsLimit)) &&
		published(was) == published(now) && reflect.DeepEqual(was.Container, now.Container)
}

// published is the container's port that the load balancer needs; 0 for none.
func published(s Service) int {
	if s.Ingress == nil {
		return 0
	}
	return s.Ingress.Port
}

// Definition returns a service as a release that is kept, or the spec in
// force, defines it.
func (c Cluster) Definition(service, revision string) (Service, bool) {
	if s, ok := c.Spec.Services[service]; ok && s.Hash == revision {
		return s, true
	}
	for r := range c.Releases.Values() {
		if s, ok := r.Spec.Services[service]; ok && s.Hash == revision {
			return s, true
		}
	}
	return Service{}, false
}

func (cmd Relimit) apply(ch *change) error {
	i, ok := ch.Instances.Get(cmd.ID)
	switch {
	case !ok:
		return refuse("there is no instance %q", cmd.ID)
	case i.Phase != Ready || i.Revision != cmd.Was:
		return refuse("%s is %s and of another definition", i.Name, i.Phase)
	case ch.Spec.Services[i.Service].Hash != cmd.Revision:
		return refuse("%s has a newer definition", i.Service)
	}
	i.Revision, i.Relimiting, i.Unfit = cmd.Revision, true, ""
	ch.Instances = ch.Instances.Put(i.ID, i)
	return nil
}

func (cmd Relimited) apply(ch *change) error {
	i, ok := ch.Instances.Get(cmd.ID)
	switch {
	case !ok:
		return refuse("there is no instance %q", cmd.ID)
	case !i.Relimiting || i.Revision != cmd.Revision:
		return refuse("the limits of %s are not being changed to those of %s", i.Name, cmd.Revision)
	}
	i.Relimiting, i.RelimitedAt = false, ch.now
	message := i.Name + " has the limits of its new definition, without a restart"
	if cmd.Problem != "" {
		i.RelimitedAt, i.Unfit = time.Time{}, cmd.Problem
		message = fmt.Sprintf("%s cannot get its new limits while it runs, it is replaced: %s", i.Name, cmd.Problem)
	}
	ch.Instances = ch.Instances.Put(i.ID, i)
	ch.event(Event{Kind: EventInstanceRelimited, Service: i.Service, Instance: i.Name, Host: i.Host, Message: message})
	return nil
}
