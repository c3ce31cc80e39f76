package api

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/supervisord/supervisord/supervisor/state"
)

// maxDeploy bounds the body of a deploy: an entry of the log must hold the
// text.
const maxDeploy = 512 << 10

// Deploy is the body of POST /v1/deploy.
type Deploy struct {
	// Text is the compose file to be put in force; empty for the one that is,
	// with other images.
	Text string `json:"text,omitempty"`
	// Images replaces images, by service.
	Images map[string]string `json:"images,omitempty"`
	// By is who does it, in words.
	By string `json:"by,omitempty"`
	// Canary tries it out beside what is in force, with this share of the
	// requests; 0 puts it in force.
	Canary float64 `json:"canary,omitempty"`
	// NoBackup leaves out the backups that x-backup.before_deploy asks for.
	NoBackup bool `json:"no_backup,omitempty"`
}

// Deployed answers POST /v1/deploy and POST /v1/rollback, before the rollout
// has begun.
type Deployed struct {
	Release Release `json:"release"`
	// Unchanged says that what was to be put in force is.
	Unchanged bool `json:"unchanged,omitempty"`
	// Canary is the one that has begun, where one was asked for; Release is the
	// one in force then.
	Canary *Canary `json:"canary,omitempty"`
	// LastEvent is the newest event when it began: what comes after it is of
	// this release.
	LastEvent uint64 `json:"last_event"`
}

// Rollback is the body of POST /v1/rollback.
type Rollback struct {
	// Revision is what to go back to; 0 for the last healthy one before that
	// in force.
	Revision uint64 `json:"revision,omitempty"`
	By       string `json:"by,omitempty"`
}

// Releases answers GET /v1/revisions, the newest first.
type Releases struct {
	Releases []Release `json:"releases"`
}

// Release is one revision of the compose file, and what has become of it.
type Release struct {
	Revision uint64    `json:"revision"`
	At       time.Time `json:"at"`
	By       string    `json:"by"`
	Change   string    `json:"change"`
	// State is "rolling", "healthy", "failed", "paused" or "superseded"; Why
	// the reason of a failure or pause.
	State state.ReleaseState `json:"state"`
	Why   string             `json:"why,omitempty"`
	Ended time.Time          `json:"ended,omitzero"`
	// InForce says that it is the one in force, Back which one it brings back.
	InForce bool   `json:"in_force"`
	Back    uint64 `json:"back,omitempty"`
	// Images are by service.
	Images map[string]string `json:"images"`
	// Text is the compose file; only in the answer to GET /v1/revisions/{n}.
	Text string `json:"text,omitempty"`
}

func (v view) release(r state.Release) Release {
	out := Release{
		Revision: r.Revision, At: r.At, By: r.By, Change: r.Change, State: r.State, Why: r.Why, Ended: r.Ended,
		Back: r.Back, InForce: r.Revision == v.Spec.Revision, Images: map[string]string{},
	}
	for name, s := range r.Spec.Services {
		out.Images[name] = s.Container.Image
	}
	return out
}

func (s *server) releases(*http.Request) (any, error) {
	v := s.view()
	body := Releases{Releases: []Release{}}
	for r := range v.Releases.Values() {
		body.Releases = append(body.Releases, v.release(r))
	}
	slices.Reverse(body.Releases)
	return body, nil
}

func noRevision(text string) error {
	return &Error{Status: http.StatusNotFound, Message: fmt.Sprintf("there is no revision %s, or no more", text), Hint: "supervisord revisions lists those that are kept"}
}

func (s *server) oneRelease(r *http.Request) (any, error) {
	text := r.PathValue("revision")
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return nil, invalid("revision %q: want a number", text)
	}
	v := s.view()
	found, ok := v.Releases.Get(state.ReleaseKey(n))
	if !ok {
		return nil, noRevision(text)
	}
	out := v.release(found)
	out.Text = found.Spec.Source
	return out, nil
}

// deploy puts a compose file in force, and answers when that is committed.
func (s *server) deploy(r *http.Request) (any, error) {
	var body Deploy
	if err := readBodyOf(r, maxDeploy, &body); err != nil {
		return nil, err
	}
	c, _ := s.backend.State()
	if share := body.Canary; share != 0 && !(share > 0 && share <= state.MaxCanaryShare) {
		return nil, invalid("canary %v: want a share above 0 and at most %v", share, state.MaxCanaryShare)
	}
	s.Log.InfoContext(r.Context(), "an operator deploys", "by", body.By, "images", body.Images, "canary", body.Canary)
	revision, err := s.backend.Deploy(r.Context(), body)
	if err != nil {
		return nil, notCommitted(err)
	}
	v := s.view()
	found, _ := v.Releases.Get(state.ReleaseKey(revision))
	d := Deployed{Release: v.release(found), Unchanged: revision == c.Spec.Revision, LastEvent: c.LastEvent}
	if body.Canary > 0 && v.Canary.ID != c.Canary.ID {
		d.Canary, d.Unchanged = v.canary(), false
	}
	return d, nil
}

// rollback brings back an earlier revision.
func (s *server) rollback(r *http.Request) (any, error) {
	var body Rollback
	if err := readBody(r, &body); err != nil {
		return nil, err
	}
	c, _ := s.backend.State()
	to := body.Revision
	if to == 0 {
		if to = lastHealthy(c); to == 0 {
			return nil, &Error{Status: http.StatusConflict, Message: "there is no healthy revision before the one in force"}
		}
	} else if _, ok := c.Releases.Get(state.ReleaseKey(to)); !ok {
		return nil, noRevision(strconv.FormatUint(to, 10))
	}
	s.Log.InfoContext(r.Context(), "an operator goes back", "to", to, "by", body.By)
	if err := s.propose(r, state.RollBack{Revision: c.Spec.Revision, To: to, By: body.By}); err != nil {
		return nil, err
	}
	v := s.view()
	found, _ := v.Releases.Get(state.ReleaseKey(v.Spec.Revision))
	return Deployed{Release: v.release(found), LastEvent: c.LastEvent}, nil
}

// lastHealthy is the newest healthy revision that is not in force and not what
// is: going back twice does not bring back what was gone back from.
func lastHealthy(c state.Cluster) uint64 {
	var last uint64
	for r := range c.Releases.Values() {
		if r.State == state.ReleaseHealthy && r.Revision < c.Spec.Revision && r.Spec.Hash != c.Spec.Hash {
			last = r.Revision
		}
	}
	return last
}
