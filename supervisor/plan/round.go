package plan

import (
	"maps"
	"slices"
	"time"

	"github.com/supervisord/supervisord/autoscale"
	"github.com/supervisord/supervisord/lbconfig/accesslog"
	"github.com/supervisord/supervisord/supervisor/state"
)

// View is everything a round looks at.
type View struct {
	Now     time.Time
	Cluster state.Cluster
	// Frames returns the recorded load of a service, oldest first. It must
	// give the same answer throughout the round.
	Frames func(service string) []autoscale.Frame
	// Traffic is what nginx on all hosts has seen of the instances within the
	// last TrafficWindow, by id; Trials of the services of the canary.
	Traffic map[string]accesslog.Counts
	Trials  map[string]Trial
	// Contact is when each host was last heard of, by name; nil where nobody
	// watches. Grace is how long one may be silent.
	Contact map[string]time.Time
	Grace   time.Duration
}

// Step is one thing to do, and why.
type Step struct {
	Command state.Command
	Why     string
}

// Result is what a round came to.
type Result struct {
	// Steps are to be committed together and in order.
	Steps []Step
	// Decisions are the autoscaling decisions by service, those that change
	// nothing too.
	Decisions map[string]autoscale.Decision
	// Pending says, by service, what an operator should know of instances
	// that are wanted and cannot be placed now.
	Pending map[string]string
	// Verdicts are how the canary does, by service.
	Verdicts map[string]Verdict
	// Next is when the plan may change without any news: the end of a
	// back-off. Zero when there is no such moment.
	Next time.Time
}

// round is a round in the making.
type round struct {
	View
	Result
	free Rooms
	// moving are instances that should be on another host, by id, and why.
	moving map[string]string
	// panics are the services of which too many are sick to take them out.
	panics map[string]bool
	// fits remembers whether one definition differs from another only in
	// limits.
	fits map[[2]string]bool
}

// Round decides what to do now.
func Round(v View) Result {
	r := &round{View: v, moving: map[string]string{}, panics: map[string]bool{}, fits: map[[2]string]bool{}, Result: Result{
		Decisions: map[string]autoscale.Decision{},
		Pending:   map[string]string{},
		Verdicts:  map[string]Verdict{},
	}}
	r.contact()
	r.rollout()
	r.judge()
	r.free = RoomsOf(r.Cluster)
	// Not the view's: the release may just have been taken back.
	names := slices.Sorted(maps.Keys(r.Cluster.Spec.Services))
	for _, name := range names {
		r.scale(r.Cluster.Spec.Services[name])
	}
	r.retire()
	for _, name := range names {
		r.heal(r.Cluster.Spec.Services[name])
		r.listen(r.Cluster.Spec.Services[name])
		r.failSick(name)
	}
	for _, name := range names {
		r.reconcile(r.Cluster.Spec.Services[name])
	}
	r.tryOut()
	r.backups()
	return r.Result
}

// do carries a step out on the round's own copy and keeps it. A step that the
// state refuses, or that not every host knows yet, is dropped: the round's view
// of the rest stays true.
func (r *round) do(cmd state.Command, why string) bool {
	if r.Cluster.Knows(cmd) != nil {
		return false
	}
	after, errs := state.Apply(r.Cluster, r.Cluster.Index+1, state.Proposal{At: r.Now, Commands: []state.Command{cmd}})
	if errs[0] != nil {
		return false
	}
	r.Cluster = after
	r.Steps = append(r.Steps, Step{cmd, why})
	return true
}

// scale lets the load, or the operator who holds the count, decide.
func (r *round) scale(s state.Service) {
	if s.Autoscale == nil {
		return
	}
	scale, ok := r.Cluster.Scales.Get(s.Name)
	if !ok {
		return
	}
	in := autoscale.Input{
		Now:     r.Now,
		Policy:  *s.Autoscale,
		Desired: scale.Desired,
		LastOut: scale.LastOut,
		LastIn:  scale.LastIn,
		Hold:    scale.Hold,
		Frames:  r.Frames(s.Name),
		Rolling: r.Cluster.Rollout.Active() && r.Cluster.Rollout.Of(s.Name) && !r.replaced(s) || r.Cluster.Canary.Of(s.Name),
	}
	for i := range r.Cluster.Stable(s.Name) {
		switch i.Phase {
		case state.Ready:
			in.Ready++
		case state.Assigned, state.Starting:
			in.Starting++
		}
	}
	d := autoscale.Decide(in)
	r.Decisions[s.Name] = d
	if d.Changes() {
		r.do(state.ScaleTo{Service: s.Name, Decision: d}, string(d.Reason))
	}
}

// retire drains what the spec no longer names.
func (r *round) retire() {
	for i := range r.Cluster.Instances.Values() {
		if _, wanted := r.Cluster.Spec.Services[i.Service]; !wanted && i.Active() {
			r.do(state.Drain{ID: i.ID, Why: i.Service + " is no longer in the compose file"}, "service removed")
		}
	}
}

func (r *round) wake(at time.Time) {
	if r.Next.IsZero() || at.Before(r.Next) {
		r.Next = at
	}
}
