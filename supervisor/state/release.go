package state

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// Release is one revision of the spec, and what has become of it.
type Release struct {
	Revision uint64    `json:"revision"`
	At       time.Time `json:"at"`
	// By is who made it, in words: "a deploy by root on web1".
	By string `json:"by"`
	// Change says in words what is different from the revision before.
	Change string `json:"change"`
	// Spec is kept so that it can be brought back.
	Spec  Spec         `json:"spec"`
	State ReleaseState `json:"state"`
	// Why is the reason of a failure or a pause.
	Why   string    `json:"why,omitempty"`
	Ended time.Time `json:"ended,omitzero"`
	// Back is the revision whose content this one brings back; 0 for none.
	Back uint64 `json:"back,omitempty"`
}

// ReleaseState is where a release stands.
type ReleaseState string

// The states of releases.
const (
	// ReleaseRolling: its definitions are on their way.
	ReleaseRolling ReleaseState = "rolling"
	// ReleaseHealthy: all of its instances served as long as they are watched.
	ReleaseHealthy ReleaseState = "healthy"
	// ReleaseFailed: its instances failed, and another one was brought back.
	ReleaseFailed ReleaseState = "failed"
	// ReleasePaused: its instances failed, and it waits for an operator.
	ReleasePaused ReleaseState = "paused"
	// ReleaseSuperseded: another one came before it was done.
	ReleaseSuperseded ReleaseState = "superseded"
)

// Rollout is the release on its way; the zero Rollout where there is none.
type Rollout struct {
	Revision uint64    `json:"revision"`
	Began    time.Time `json:"began"`
	// Good is the revision to go back to: the last healthy one before. 0 where
	// there is none. Back says that this one is the way back to it, from which
	// there is none.
	Good uint64 `json:"good,omitempty"`
	Back bool   `json:"back,omitempty"`
	// Services are those whose definition it changes, sorted.
	Services []string `json:"services"`
	// Failed counts the failures of new instances by service; Last is what the
	// latest one was.
	Failed map[string]int `json:"failed,omitempty"`
	Last   string         `json:"last,omitempty"`
	// Paused says that it waits for an operator.
	Paused bool `json:"paused,omitempty"`
}

// Active says whether there is a rollout that goes on.
func (r Rollout) Active() bool { return r.Revision != 0 && !r.Paused }

// Of says whether the rollout replaces instances of a service.
func (r Rollout) Of(service string) bool { return slices.Contains(r.Services, service) }

// maxReleases is how many releases are kept, beside the one to go back to.
const maxReleases = 10

// FinishRollout says that a release is healthy.
type FinishRollout struct {
	Revision uint64 `json:"revision"`
}

// PauseRollout stops a rollout until an operator says how to go on: by another
// edit, or by going back.
type PauseRollout struct {
	Revision uint64 `json:"revision"`
	Why      string `json:"why"`
}

// RollBack brings back the content of revision To as a new revision. It is
// refused where Revision is not in force.
type RollBack struct {
	Revision uint64 `json:"revision"`
	To       uint64 `json:"to"`
	By       string `json:"by"`
	// Failed says that the revision in force has failed, and Why.
	Failed bool   `json:"failed,omitempty"`
	Why    string `json:"why,omitempty"`
}

func (FinishRollout) kind() string { return "finish_rollout" }
func (PauseRollout) kind() string  { return "pause_rollout" }
func (RollBack) kind() string      { return "roll_back" }

// ReleaseKey is the key of a revision among the releases.
func ReleaseKey(revision uint64) string { return eventKey(revision) }

// begin records that a spec is in force since now, and rolls it out where it
// changes what runs.
func (ch *change) begin(old Spec, r Release) {
	before := ch.Rollout
	good, compare := old.Revision, old
	if before.Revision != 0 {
		// What has not been found healthy is nothing to go back to.
		good = before.Good
		if g, ok := ch.Releases.Get(ReleaseKey(good)); ok {
			compare = g.Spec
		}
	} else if _, known := ch.Releases.Get(ReleaseKey(old.Revision)); !known && old.Revision > 0 {
		// It came before releases were recorded.
		ch.keep(Release{Revision: old.Revision, At: ch.now, By: "an earlier version", Spec: old, State: ReleaseHealthy, Ended: ch.now})
	}
	r.Revision, r.At, r.Spec, r.State = ch.Spec.Revision, ch.now, ch.Spec, ReleaseRolling
	r.Change = difference(old, ch.Spec)
	ch.Rollout = Rollout{Revision: r.Revision, Began: ch.now, Good: good}
	if r.Back != 0 {
		ch.Rollout.Good, ch.Rollout.Back = r.Back, true
	}
	for _, name := range slices.Sorted(maps.Keys(ch.Spec.Services)) {
		// Those that were on their way before are too, though they may be on
		// their way back now.
		if h := ch.Spec.Services[name].Hash; h != old.Services[name].Hash || h != compare.Services[name].Hash || before.Of(name) {
			ch.Rollout.Services = append(ch.Rollout.Services, name)
		}
	}
	if len(ch.Rollout.Services) == 0 {
		r.State, r.Ended, ch.Rollout = ReleaseHealthy, ch.now, Rollout{}
	}
	ch.keep(r)
}

// keep puts a release among those that are kept; the oldest go first.
func (ch *change) keep(r Release) {
	ch.Releases = ch.Releases.Put(ReleaseKey(r.Revision), r)
	for key, old := range ch.Releases.All() {
		if ch.Releases.Len() <= maxReleases {
			return
		}
		if old.Revision != ch.Rollout.Good && old.Revision != ch.Spec.Revision {
			ch.Releases = ch.Releases.Delete(key)
			ch.retire(old)
		}
	}
}

// maxRetired is how many images are remembered to be removed.
const maxRetired = 50

// retire gives up the images that only a release that is no longer kept had.
func (ch *change) retire(r Release) {
	for _, name := range slices.Sorted(maps.Keys(r.Spec.Services)) {
		image := r.Spec.Services[name].Container.Image
		if image != "" && !ch.Keeps(image) && !slices.Contains(ch.Retired, image) {
			retired := append(slices.Clone(ch.Retired), image)
			ch.Retired = retired[max(0, len(retired)-maxRetired):]
		}
	}
}

// Keeps says whether a release that is kept has an image.
func (c Cluster) Keeps(image string) bool {
	has := func(s Spec) bool {
		for _, service := range s.Services {
			if service.Container.Image == image {
				return true
			}
		}
		return false
	}
	for r := range c.Releases.Values() {
		if has(r.Spec) {
			return true
		}
	}
	return has(c.Spec)
}

// end closes the release in force, where it is still open.
func (ch *change) end(s ReleaseState, why string) {
	r, ok := ch.Releases.Get(ReleaseKey(ch.Spec.Revision))
	if !ok || r.State != ReleaseRolling && r.State != ReleasePaused {
		return
	}
	r.State, r.Why, r.Ended = s, why, ch.now
	ch.Releases = ch.Releases.Put(ReleaseKey(r.Revision), r)
}

// install puts a spec in force, in place of the one that is.
func (ch *change) install(s Spec) {
	old := ch.Spec
	ch.Spec = s
	ch.Spec.Revision = old.Revision + 1
	for _, name := range slices.Sorted(maps.Keys(ch.Spec.Services)) {
		_, known := old.Services[name]
		ch.adoptService(old.Services[name], ch.Spec.Services[name])
		if !known {
			ch.await(name)
		}
	}
	for name := range ch.Scales.All() {
		if _, kept := ch.Spec.Services[name]; !kept {
			ch.Scales = ch.Scales.Delete(name)
			ch.Failures = ch.Failures.Delete(name)
			ch.Suspicions = ch.Suspicions.Delete(name)
			ch.Takeovers = ch.Takeovers.Delete(name)
		}
	}
}

func (ch *change) rolling(revision uint64) error {
	if ch.Rollout.Revision == 0 || ch.Rollout.Revision != revision {
		return refuse("revision %d is not being rolled out", revision)
	}
	return nil
}

func (cmd FinishRollout) apply(ch *change) error {
	if err := ch.rolling(cmd.Revision); err != nil {
		return err
	}
	took := Brief(ch.now.Sub(ch.Rollout.Began))
	ch.end(ReleaseHealthy, "")
	ch.Rollout = Rollout{}
	ch.event(Event{Kind: EventReleaseHealthy, Message: fmt.Sprintf("revision %d is healthy, %s after it came", cmd.Revision, took)})
	return nil
}

func (cmd PauseRollout) apply(ch *change) error {
	if err := ch.rolling(cmd.Revision); err != nil {
		return err
	}
	if ch.Rollout.Paused {
		return refuse("revision %d is paused already", cmd.Revision)
	}
	ch.Rollout.Paused = true
	ch.end(ReleasePaused, cmd.Why)
	ch.event(Event{Kind: EventReleasePaused, Message: fmt.Sprintf("revision %d is paused: %s", cmd.Revision, cmd.Why)})
	return nil
}

func (cmd RollBack) apply(ch *change) error {
	to, ok := ch.Releases.Get(ReleaseKey(cmd.To))
	switch {
	case cmd.Revision != ch.Spec.Revision:
		return refuse("revision %d is in force, not %d", ch.Spec.Revision, cmd.Revision)
	case !ok:
		return refuse("there is no revision %d any more", cmd.To)
	case cmd.To == cmd.Revision:
		return refuse("revision %d is in force", cmd.To)
	}
	old := ch.Spec
	if cmd.Failed {
		ch.end(ReleaseFailed, cmd.Why)
		ch.event(Event{Kind: EventReleaseFailed, Message: fmt.Sprintf("revision %d has failed: %s", cmd.Revision, cmd.Why)})
	} else {
		ch.end(ReleaseSuperseded, "")
	}
	ch.endCanary(CanaryAborted, fmt.Sprintf("revision %d came in between", old.Revision+1))
	ch.install(to.Spec)
	ch.begin(old, Release{By: cmd.By, Back: cmd.To})
	ch.event(Event{Kind: EventRolledBack, Message: fmt.Sprintf("revision %d brings back revision %d: %s", ch.Spec.Revision, cmd.To, difference(old, ch.Spec))})
	return nil
}

// blame counts a failed instance against the release that it came with.
func (ch *change) blame(i Instance, cmd Fail) {
	if !ch.Rollout.Active() || !ch.Rollout.Of(i.Service) || cmd.NameTaken || cmd.Blameless || i.Revision != ch.Spec.Services[i.Service].Hash {
		return
	}
	failed := maps.Clone(ch.Rollout.Failed)
	if failed == nil {
		failed = map[string]int{}
	}
	failed[i.Service]++
	ch.Rollout.Failed, ch.Rollout.Last = failed, fmt.Sprintf("%s on %s failed: %s", i.Name, i.Host, cmd.Reason)
}
