package state

import (
	"fmt"
	"time"
)

// ReportHealth says that a ready instance does not answer its health checks,
// and why; with an empty Sick that it does again. What follows from it is the
// plan's to decide, which sees the others too.
type ReportHealth struct {
	second
	ID   string `json:"id"`
	Sick string `json:"sick,omitempty"`
}

// Suspect says that so many instances of a service are sick at once that the
// check, or something they share, is more likely at fault than they are; with an
// empty Why that it is over.
type Suspect struct {
	second
	Service string `json:"service"`
	Why     string `json:"why,omitempty"`
}

// Suspicion is a health check that is suspected.
type Suspicion struct {
	Service string    `json:"service"`
	Why     string    `json:"why"`
	Since   time.Time `json:"since"`
}

func (ReportHealth) kind() string { return "report_health" }
func (Suspect) kind() string      { return "suspect" }

func (cmd ReportHealth) apply(ch *change) error {
	i, ok := ch.Instances.Get(cmd.ID)
	switch {
	case !ok:
		return refuse("there is no instance %q", cmd.ID)
	case i.Phase != Ready:
		return refuse("%s is %s; only what is ready can be sick", i.Name, i.Phase)
	case (cmd.Sick == "") == (i.Sick == ""):
		return nil
	}
	e := Event{Kind: EventInstanceSick, Service: i.Service, Instance: i.Name, Host: i.Host,
		Message: fmt.Sprintf("%s is sick: %s", i.Name, cmd.Sick)}
	if cmd.Sick == "" {
		e.Kind, e.Message = EventInstanceWell, fmt.Sprintf("%s is well again after %s", i.Name, Brief(ch.now.Sub(i.SickSince)))
	}
	i.Sick, i.SickSince = cmd.Sick, time.Time{}
	if cmd.Sick != "" {
		i.SickSince = ch.now
	}
	ch.Instances = ch.Instances.Put(i.ID, i)
	ch.event(e)
	return nil
}

func (cmd Suspect) apply(ch *change) error {
	was, suspected := ch.Suspicions.Get(cmd.Service)
	switch {
	case suspected == (cmd.Why != ""):
		return refuse("nothing new is said of %s", cmd.Service)
	case suspected:
		ch.Suspicions = ch.Suspicions.Delete(cmd.Service)
		ch.event(Event{Kind: EventCheckTrusted, Service: cmd.Service,
			Message: fmt.Sprintf("the health check of %s is trusted again after %s", cmd.Service, Brief(ch.now.Sub(was.Since)))})
	default:
		ch.Suspicions = ch.Suspicions.Put(cmd.Service, Suspicion{Service: cmd.Service, Why: cmd.Why, Since: ch.now})
		ch.event(Event{Kind: EventCheckSuspected, Service: cmd.Service, Message: cmd.Why})
	}
	return nil
}
