package api

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/supervisord/supervisord/supervisor/state"
)

// Roles of a host in the log's cluster.
const (
	RoleLeader   = "leader"
	RoleVoter    = "voter"
	RoleNonVoter = "non-voter"
	// RoleNone: it is registered and has not entered the log's cluster.
	RoleNone = "none"
)

// States of a host.
const (
	HostReady    = "ready"
	HostDraining = "draining"
	HostLost     = "lost"
)

// skewShown is the difference between two clocks that is worth telling.
const skewShown = 5 * time.Second

// host is one machine as it stands.
func (v view) host(h state.Host) Host {
	out := Host{
		Name: h.Name, Address: h.Address, Peer: h.Peer, Labels: h.Labels, CPUs: h.CPUs, Memory: h.Memory, Version: h.Version,
		Leader: v.local.Raft.IsLeader && h.Name == v.local.Host || h.Name == v.local.Raft.Leader,
		Role:   RoleNone, State: HostReady, RejectedSites: h.RejectedSites, SpecError: h.SpecError,
	}
	for _, m := range v.local.Members {
		if m.Server == h.Server {
			out.Role = RoleNonVoter
			if m.Voter {
				out.Role = RoleVoter
			}
		}
	}
	if out.Leader {
		out.Role = RoleLeader
	}
	switch {
	case h.IsLost():
		out.State, out.LostSince = HostLost, h.Lost
	case h.Draining:
		out.State = HostDraining
	}
	for _, i := range v.OnHost(h.Name) {
		out.Instances++
		out.Phases.add(i.Phase)
		s, _ := v.ServiceOf(i)
		res := s.Container.Resources
		out.ReservedCPUs += max(res.CPUReservation, 0)
		if res.CPUReservation == 0 {
			out.ReservedCPUs += res.CPULimit
		}
		if res.MemoryReservation > 0 {
			out.ReservedMemory += res.MemoryReservation
		} else {
			out.ReservedMemory += res.MemoryLimit
		}
	}
	for home := range v.Homes.Values() {
		if home.Host == h.Name {
			out.Data = append(out.Data, home.Service)
		}
	}
	if skew := v.local.Skew[h.Name]; skew.Abs() > skewShown {
		out.ClockAhead = skew.Seconds()
	}
	return out
}

func noHost(name string) error {
	return &Error{Status: http.StatusNotFound, Message: fmt.Sprintf("there is no host %q", name), Hint: "supervisord hosts lists them"}
}

func (s *server) oneHost(r *http.Request) (any, error) {
	v := s.view()
	h, ok := v.Hosts.Get(r.PathValue("name"))
	if !ok {
		return nil, noHost(r.PathValue("name"))
	}
	return v.host(h), nil
}

// RemoveHost is the body of POST /v1/hosts/{name}/remove; see
// state.RemoveHost.
type RemoveHost struct {
	Force       bool `json:"force"`
	AbandonData bool `json:"abandon_data"`
}

// changeHost carries out a command about a host and answers with the host as
// it is then.
func (s *server) changeHost(make func(r *http.Request, name string) (state.Command, error)) func(*http.Request) (any, error) {
	return func(r *http.Request) (any, error) {
		name := r.PathValue("name")
		c, _ := s.backend.State()
		before, ok := c.Hosts.Get(name)
		if !ok {
			return nil, noHost(name)
		}
		cmd, err := make(r, name)
		if err != nil {
			return nil, err
		}
		if err := s.propose(r, cmd); err != nil {
			return nil, err
		}
		s.Log.InfoContext(r.Context(), "an operator changes a host", "command", cmd)
		v := s.view()
		if now, still := v.Hosts.Get(name); still {
			before = now
		}
		return v.host(before), nil
	}
}

func drainHost(_ *http.Request, name string) (state.Command, error) {
	return state.DrainHost{Name: name}, nil
}

func resumeHost(_ *http.Request, name string) (state.Command, error) {
	return state.DrainHost{Name: name, Off: true}, nil
}

func removeHost(r *http.Request, name string) (state.Command, error) {
	var body RemoveHost
	if err := readBody(r, &body); err != nil {
		return nil, err
	}
	return state.RemoveHost{Name: name, Force: body.Force, AbandonData: body.AbandonData}, nil
}

// Tokens answers GET /v1/tokens, sorted by id.
type Tokens struct {
	Tokens []Token `json:"tokens"`
}

// Token lets hosts join. Its secret is shown only when it is made.
type Token struct {
	ID      string    `json:"id"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
	Expired bool      `json:"expired"`
}

func (s *server) tokens(*http.Request) (any, error) {
	v := s.view()
	body := Tokens{Tokens: []Token{}}
	for t := range v.Tokens.Values() {
		body.Tokens = append(body.Tokens, Token{ID: t.ID, Created: t.Created, Expires: t.Expires, Expired: !v.now.Before(t.Expires)})
	}
	return body, nil
}

// CreateToken is the body of POST /v1/tokens, which answers with a NewToken.
type CreateToken struct {
	// TTLSeconds is how long the token is good for; a day where it is absent.
	TTLSeconds float64 `json:"ttl_seconds"`
}

const (
	defaultTokenTTL  = 24 * time.Hour
	shortestTokenTTL = time.Minute
	longestTokenTTL  = 30 * 24 * time.Hour
)

func (s *server) createToken(r *http.Request) (any, error) {
	var body CreateToken
	if err := readBody(r, &body); err != nil {
		return nil, err
	}
	ttl := defaultTokenTTL
	if body.TTLSeconds != 0 {
		ttl = time.Duration(body.TTLSeconds * float64(time.Second))
	}
	if ttl < shortestTokenTTL || ttl > longestTokenTTL {
		return nil, invalid("body: ttl_seconds: want %.0f (a minute) to %.0f (30 days)", shortestTokenTTL.Seconds(), longestTokenTTL.Seconds())
	}
	t, err := s.backend.NewToken(r.Context(), ttl)
	switch {
	case errors.Is(err, ErrClosedCluster):
		return nil, &Error{Status: http.StatusConflict, Message: err.Error(), Hint: "supervisord init opens it"}
	case err != nil:
		return nil, notCommitted(err)
	}
	s.Log.InfoContext(r.Context(), "an operator makes a token", "id", t.ID, "expires", t.Expires)
	return t, nil
}

func (s *server) revokeToken(r *http.Request) (any, error) {
	id := r.PathValue("id")
	c, _ := s.backend.State()
	if _, ok := c.Tokens.Get(id); !ok {
		return nil, &Error{Status: http.StatusNotFound, Message: fmt.Sprintf("there is no token %q", id), Hint: "supervisord token list lists them"}
	}
	if err := s.propose(r, state.RevokeToken{ID: id}); err != nil {
		return nil, err
	}
	s.Log.InfoContext(r.Context(), "an operator revokes a token", "id", id)
	return s.tokens(r)
}
