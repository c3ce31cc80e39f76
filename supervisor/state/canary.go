package state

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// Canary is a spec that is tried out beside the one in force: some instances of
// its definitions get a share of the requests. Everything else goes on as the
// spec in force says. The last one stays on record when it has ended.
type Canary struct {
	// ID is the log index it began at.
	ID uint64 `json:"id"`
	// Base is the revision of the spec that it is tried out beside.
	Base uint64 `json:"base"`
	Spec Spec   `json:"spec"`
	// Share of a service's requests, above 0 and at most one half.
	Share float64   `json:"share"`
	By    string    `json:"by"`
	Began time.Time `json:"began"`
	// Services get instances of their new definitions, sorted. Held have new
	// definitions too, and wait for the end: they have no ingress, or own data.
	Services []string `json:"services"`
	Held     []string `json:"held,omitempty"`
	// Change says in words what is different from the spec in force.
	Change string      `json:"change"`
	State  CanaryState `json:"state"`
	Why    string      `json:"why,omitempty"`
	Ended  time.Time   `json:"ended,omitzero"`
}

// CanaryState is where a canary stands.
type CanaryState string

// The states of canaries.
const (
	CanaryServing  CanaryState = "serving"
	CanaryPromoted CanaryState = "promoted"
	CanaryAborted  CanaryState = "aborted"
	// CanaryFailed: its instances failed, or were judged to be worse.
	CanaryFailed CanaryState = "failed"
)

// MaxCanaryShare is the largest share that a canary may have.
const MaxCanaryShare = 0.5

// Active says whether it goes on.
func (k Canary) Active() bool { return k.State == CanaryServing }

// Of says whether it has instances of a service.
func (k Canary) Of(service string) bool {
	return k.Active() && slices.Contains(k.Services, service)
}

// StartCanary begins to try out a spec beside the one in force, which must be
// Base and must not be on its way.
type StartCanary struct {
	second
	Spec  Spec    `json:"spec"`
	Base  uint64  `json:"base"`
	Share float64 `json:"share"`
	By    string  `json:"by"`
}

// PlaceCanary puts a new instance of a canary on a host.
type PlaceCanary struct {
	second
	Canary   uint64 `json:"canary"`
	Service  string `json:"service"`
	Slot     int    `json:"slot"`
	Host     string `json:"host"`
	Revision string `json:"revision"`
	Why      string `json:"why"`
}

// Promote puts the canary's spec in force, as a release that is rolled out.
type Promote struct {
	second
	Canary uint64 `json:"canary"`
	By     string `json:"by"`
}

// EndCanary ends a canary; Failed where it was judged to be worse.
type EndCanary struct {
	second
	Canary uint64 `json:"canary"`
	Failed bool   `json:"failed,omitempty"`
	Why    string `json:"why"`
}

func (StartCanary) kind() string { return "start_canary" }
func (PlaceCanary) kind() string { return "place_canary" }
func (Promote) kind() string     { return "promote" }
func (EndCanary) kind() string   { return "end_canary" }

// ServiceOf returns the definition that an instance is of: the spec's in force,
// or the canary's.
func (c Cluster) ServiceOf(i Instance) (Service, bool) {
	spec := c.Spec
	if i.Canary && c.Canary.Active() {
		spec = c.Canary.Spec
	}
	s, ok := spec.Services[i.Service]
	return s, ok
}

// CanaryServices says which services of a spec would get instances beside those
// of the spec in force, and which would have to wait for it to be promoted.
func (c Cluster) CanaryServices(next Spec) (serving, held []string) {
	for _, name := range slices.Sorted(maps.Keys(next.Services)) {
		s, old := next.Services[name], c.Spec.Services[name]
		switch {
		case s.Hash == old.Hash:
		case old.Ingress != nil && s.Ingress != nil && !s.Stateful && !old.Stateful:
			serving = append(serving, name)
		default:
			held = append(held, name)
		}
	}
	return serving, held
}

func (cmd StartCanary) apply(ch *change) error {
	serving, held := ch.CanaryServices(cmd.Spec)
	switch {
	case cmd.Base != ch.Spec.Revision:
		return refuse("the spec was made from revision %d, revision %d is in force", cmd.Base, ch.Spec.Revision)
	case ch.Rollout.Active():
		return refuse("revision %d is being rolled out", ch.Rollout.Revision)
	case ch.Canary.Active():
		return refuse("there is a canary already: promote or abort it first")
	case !(cmd.Share > 0 && cmd.Share <= MaxCanaryShare):
		return refuse("a canary has a share above 0 and at most %d %%", int(100*MaxCanaryShare))
	case len(serving) == 0:
		return refuse("no service with an ingress and without data has a new definition, so that there is nothing to try out")
	}
	ch.Canary = Canary{ID: ch.index, Base: cmd.Base, Spec: cmd.Spec, Share: cmd.Share, By: cmd.By, Began: ch.now,
		Services: serving, Held: held, Change: difference(ch.Spec, cmd.Spec), State: CanaryServing}
	ch.event(Event{Kind: EventCanaryStarted, Message: fmt.Sprintf("a canary begins with %g %% of the requests: %s", 100*cmd.Share, ch.Canary.Change)})
	return nil
}

func (ch *change) canary(id uint64) error {
	if !ch.Canary.Active() || ch.Canary.ID != id {
		return refuse("there is no such canary")
	}
	return nil
}

func (cmd PlaceCanary) apply(ch *change) error {
	if err := ch.canary(cmd.Canary); err != nil {
		return err
	}
	s, ok := ch.Canary.Spec.Services[cmd.Service]
	if !ok || s.Hash != cmd.Revision || !ch.Canary.Of(cmd.Service) {
		return refuse("%s is not part of the canary", cmd.Service)
	}
	i, err := ch.place(s, Place{Service: cmd.Service, Slot: cmd.Slot, Host: cmd.Host, Revision: cmd.Revision, Why: cmd.Why})
	if err != nil {
		return err
	}
	i.Canary = true
	ch.Instances = ch.Instances.Put(i.ID, i)
	return nil
}

func (cmd Promote) apply(ch *change) error {
	if err := ch.canary(cmd.Canary); err != nil {
		return err
	}
	old, next := ch.Spec, ch.Canary.Spec
	ch.endCanary(CanaryPromoted, "by "+cmd.By)
	for _, i := range ch.canaries() {
		if i.Revision == next.Services[i.Service].Hash {
			i.Canary = false
			ch.Instances = ch.Instances.Put(i.ID, i)
		}
	}
	ch.end(ReleaseSuperseded, "")
	ch.install(next)
	ch.begin(old, Release{By: cmd.By})
	ch.event(Event{Kind: EventCanaryPromoted, Message: fmt.Sprintf("the canary is promoted: spec revision %d is in force: %s", ch.Spec.Revision, difference(old, ch.Spec))})
	return nil
}

func (ch *change) canaries() []Instance {
	var all []Instance
	for i := range ch.Instances.Values() {
		if i.Canary {
			all = append(all, i)
		}
	}
	return all
}

func (cmd EndCanary) apply(ch *change) error {
	if err := ch.canary(cmd.Canary); err != nil {
		return err
	}
	as := CanaryAborted
	if cmd.Failed {
		as = CanaryFailed
	}
	ch.endCanary(as, cmd.Why)
	return nil
}

// endCanary closes the canary, if there is one. Its instances leave by the
// plan, as all do.
func (ch *change) endCanary(as CanaryState, why string) {
	if !ch.Canary.Active() {
		return
	}
	ch.Canary.State, ch.Canary.Why, ch.Canary.Ended = as, why, ch.now
	kind, word := EventCanaryAborted, "is aborted"
	switch as {
	case CanaryPromoted:
		return
	case CanaryFailed:
		kind, word = EventCanaryFailed, "has failed, it gets no requests any more"
	}
	ch.event(Event{Kind: kind, Message: fmt.Sprintf("the canary %s: %s", word, why)})
}

// failCanary takes out an instance of a canary that has failed. It ends the
// canary, unless something else is to blame.
func (ch *change) failCanary(i Instance, cmd Fail) {
	ch.enter(i, Failed, cmd.Reason)
	ch.event(Event{Kind: EventInstanceFailed, Service: i.Service, Instance: i.Name, Host: i.Host,
		Message: fmt.Sprintf("%s of the canary failed: %s", i.Name, cmd.Reason)})
	switch {
	case cmd.NameTaken:
		f, _ := ch.Failures.Get(i.Service)
		f.Service = i.Service
		if !slices.Contains(f.TakenSlots, i.Slot) {
			f.TakenSlots = append(slices.Clone(f.TakenSlots), i.Slot)
		}
		ch.Failures = ch.Failures.Put(i.Service, f)
	case !cmd.Blameless:
		ch.endCanary(CanaryFailed, fmt.Sprintf("%s on %s failed: %s", i.Name, i.Host, cmd.Reason))
	}
}
