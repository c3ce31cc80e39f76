package api

import (
	"net/http"
	"time"

	"github.com/supervisord/supervisord/supervisor/state"
)

// Canary answers GET /v1/canary: the spec that is tried out beside the one in
// force, or the last one that was.
type Canary struct {
	ID uint64 `json:"id"`
	// Base is the revision that it is tried out beside, Share that of the
	// requests that it gets.
	Base  uint64    `json:"base"`
	Share float64   `json:"share"`
	By    string    `json:"by"`
	Began time.Time `json:"began"`
	// Change says in words what is different; Services are those with
	// instances of it, Held those that wait until it is promoted.
	Change   string   `json:"change"`
	Services []string `json:"services"`
	Held     []string `json:"held,omitempty"`
	// State is "serving", "promoted", "aborted" or "failed"; Why the reason.
	State state.CanaryState `json:"state"`
	Why   string            `json:"why,omitempty"`
	Ended time.Time         `json:"ended,omitzero"`
	// Ready and Wanted count its instances that serve, and the services that
	// should have some.
	Ready     int        `json:"ready"`
	Instances []Instance `json:"instances"`
	// Verdicts are how it does, by service: judged by the leader all the time.
	Verdicts map[string]Verdict `json:"verdicts"`
	// Judged says that every service had enough requests to tell.
	Judged bool `json:"judged"`
}

// Verdict is how a canary does against what it may replace.
type Verdict struct {
	// Known: there were enough requests to tell.
	Known bool   `json:"known"`
	Worse bool   `json:"worse"`
	Why   string `json:"why"`
}

// EndCanary is the body of POST /v1/canary/promote and /v1/canary/abort.
type EndCanary struct {
	By string `json:"by,omitempty"`
	// Force promotes a canary that has not had enough requests to judge it.
	Force bool `json:"force,omitempty"`
}

// canary is nil where there has been none.
func (v view) canary() *Canary {
	k := v.Canary
	if k.ID == 0 {
		return nil
	}
	out := &Canary{
		ID: k.ID, Base: k.Base, Share: k.Share, By: k.By, Began: k.Began, Change: k.Change, Services: k.Services, Held: k.Held,
		State: k.State, Why: k.Why, Ended: k.Ended, Instances: []Instance{}, Verdicts: map[string]Verdict{}, Judged: true,
	}
	for _, name := range k.Services {
		if verdict, ok := v.local.Verdicts[name]; ok && k.Active() {
			out.Verdicts[name] = verdict
		}
		out.Judged = out.Judged && out.Verdicts[name].Known
		for i := range v.Of(name) {
			if !i.Canary {
				continue
			}
			out.Instances = append(out.Instances, v.instance(i))
			if i.Phase == state.Ready {
				out.Ready++
			}
		}
	}
	return out
}

// trying is the canary that is being tried out; nil where there is none.
func (v view) trying() *Canary {
	if !v.Canary.Active() {
		return nil
	}
	return v.canary()
}

func noCanary() error {
	return &Error{Status: http.StatusNotFound, Message: "there is no canary", Hint: "supervisord deploy --canary 10% begins one"}
}

func (s *server) canary(*http.Request) (any, error) {
	k := s.view().canary()
	if k == nil {
		return nil, noCanary()
	}
	return k, nil
}

// promote puts a canary in force, and answers when that is committed.
func (s *server) promote(r *http.Request) (any, error) {
	var body EndCanary
	if err := readBody(r, &body); err != nil {
		return nil, err
	}
	before := s.view()
	k := before.canary()
	switch {
	case k == nil || k.State != state.CanaryServing:
		return nil, noCanary()
	case k.Ready == 0 && !body.Force:
		return nil, &Error{Status: http.StatusConflict, Message: "no instance of the canary serves yet", Hint: "wait, or promote it all the same: --force"}
	case !k.Judged && !body.Force:
		return nil, &Error{Status: http.StatusConflict, Message: "the canary has not been judged: " + unjudged(k), Hint: "wait for more requests, or promote it all the same: --force"}
	}
	s.Log.InfoContext(r.Context(), "an operator promotes the canary", "by", body.By)
	if err := s.propose(r, state.Promote{Canary: k.ID, By: body.By}); err != nil {
		return nil, err
	}
	v := s.view()
	found, _ := v.Releases.Get(state.ReleaseKey(v.Spec.Revision))
	return Deployed{Release: v.release(found), LastEvent: before.LastEvent}, nil
}

func unjudged(k *Canary) string {
	for _, name := range k.Services {
		if v := k.Verdicts[name]; !v.Known {
			if v.Why == "" {
				return name + " has not been looked at"
			}
			return name + ": " + v.Why
		}
	}
	return "no service is part of it"
}

// abort takes a canary out, and answers when that is committed.
func (s *server) abort(r *http.Request) (any, error) {
	var body EndCanary
	if err := readBody(r, &body); err != nil {
		return nil, err
	}
	k := s.view().canary()
	if k == nil || k.State != state.CanaryServing {
		return nil, noCanary()
	}
	s.Log.InfoContext(r.Context(), "an operator aborts the canary", "by", body.By)
	if err := s.propose(r, state.EndCanary{Canary: k.ID, Why: "by " + body.By}); err != nil {
		return nil, err
	}
	return s.view().canary(), nil
}
