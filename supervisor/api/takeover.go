package api

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/supervisord/supervisord/supervisor/state"
)

// Takeover answers GET /v1/takeover?container=[HOST/]NAME=SERVICE and the calls
// that change it: what others run of the spec's services, and what has been
// decided of that.
type Takeover struct {
	// Project is the spec's, whose containers are looked for.
	Project string `json:"project"`
	// Candidates are the containers that could be adopted, or are, or cannot
	// be, by service and name. Only the answers to GET and adopt have them.
	Candidates []state.Candidate `json:"candidates,omitempty"`
	Takeovers  []state.Takeover  `json:"takeovers"`
	// LastEvent is the newest event before the call.
	LastEvent uint64 `json:"last_event"`
}

// Adopt is the body of POST /v1/takeover/adopt.
type Adopt struct {
	// Services are those to be adopted whole; all that can be where neither
	// these nor Containers are named.
	Services []string `json:"services,omitempty"`
	// Containers are single ones, "NAME" or "HOST/NAME", with their services.
	Containers map[string]string `json:"containers,omitempty"`
	By         string            `json:"by"`
}

// Decide is the body of POST /v1/takeover/finish, return and ignore. Without
// services it is about all.
type Decide struct {
	Services []string `json:"services,omitempty"`
	// Own and Partly are return's; see state.ReturnAdopted.
	Own    bool   `json:"own,omitempty"`
	Partly bool   `json:"partly,omitempty"`
	By     string `json:"by"`
}

func (s *server) takeoverRoutes() map[string]func(*http.Request) (any, error) {
	return map[string]func(*http.Request) (any, error){
		// Names of variables and mounts of others are not for everybody.
		"GET /v1/takeover":         s.takeover,
		"POST /v1/takeover/adopt":  s.adopt,
		"POST /v1/takeover/finish": s.decide(finish),
		"POST /v1/takeover/return": s.decide(giveBack),
		"POST /v1/takeover/ignore": s.decide(ignore),
	}
}

func (s *server) takeoverNow() Takeover {
	c, _ := s.backend.State()
	t := Takeover{Project: c.Spec.Project, Takeovers: []state.Takeover{}, LastEvent: c.LastEvent}
	for one := range c.Takeovers.Values() {
		t.Takeovers = append(t.Takeovers, one)
	}
	return t
}

func (s *server) takeover(r *http.Request) (any, error) {
	named := map[string]string{}
	for _, text := range r.URL.Query()["container"] {
		name, service, ok := strings.Cut(text, "=")
		if !ok || name == "" || service == "" {
			return nil, invalid("container %q: want NAME=SERVICE", text)
		}
		named[name] = service
	}
	out := s.takeoverNow()
	var err error
	out.Candidates, err = s.candidates(r, named)
	return out, err
}

// candidates asks all hosts, and marks what would be refused.
func (s *server) candidates(r *http.Request, named map[string]string) ([]state.Candidate, error) {
	all, err := s.backend.Candidates(r.Context(), named)
	if err != nil {
		return nil, notCommitted(err)
	}
	slices.SortFunc(all, func(a, b state.Candidate) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Host, b.Host))
	})
	if err := findable(named, all); err != nil {
		return nil, err
	}
	c, _ := s.backend.State()
	for service, cmd := range adoptions(all, "") {
		_, errs := state.Apply(c, c.Index+1, state.Proposal{At: c.Time, Commands: []state.Command{cmd}})
		if errs[0] == nil {
			continue
		}
		for n := range all {
			if all[n].Service == service && adoptable(all[n]) {
				all[n].Cannot = reasonOf(errs[0])
			}
		}
	}
	return all, nil
}

// findable sees that each named container is on one host.
func findable(named map[string]string, all []state.Candidate) error {
	for _, ref := range slices.Sorted(maps.Keys(named)) {
		var on []string
		for _, k := range all {
			if ref == k.Name || ref == k.Host+"/"+k.Name {
				on = append(on, k.Host)
			}
		}
		switch len(on) {
		case 0:
			return &Error{Status: http.StatusNotFound, Message: fmt.Sprintf("there is no container %s", ref), Hint: "docker ps lists those of a host"}
		case 1:
		default:
			return invalid("container %s is on %s: say which, HOST/%s", ref, strings.Join(on, ", "), ref)
		}
	}
	return nil
}

func adoptable(k state.Candidate) bool { return k.Cannot == "" && k.Sick == "" && k.Adopted == "" }

// adoptions are the commands that adopt what can be, by service.
func adoptions(all []state.Candidate, by string) map[string]state.Adopt {
	cmds := map[string]state.Adopt{}
	for _, k := range all {
		if !adoptable(k) {
			continue
		}
		cmd := cmds[k.Service]
		cmd.By = by
		cmd.Containers = append(cmd.Containers, k.Adoptee)
		cmds[k.Service] = cmd
	}
	return cmds
}

// adopt commits what was asked for in one proposal. A service is adopted whole,
// or not at all: half of it in nginx would be half of what its clients use.
func (s *server) adopt(r *http.Request) (any, error) {
	var body Adopt
	if err := readBody(r, &body); err != nil {
		return nil, err
	}
	all, err := s.candidates(r, body.Containers)
	if err != nil {
		return nil, err
	}
	if all, err = chosen(body, all); err != nil {
		return nil, err
	}
	out := s.takeoverNow()
	by := adoptions(all, body.By)
	var cmds []state.Command
	for _, service := range slices.Sorted(maps.Keys(by)) {
		cmds = append(cmds, by[service])
	}
	if len(cmds) == 0 {
		return nil, &Error{Status: http.StatusConflict, Message: "there is nothing that can be adopted", Hint: "supervisord adopt shows what there is, and why not"}
	}
	s.Log.InfoContext(r.Context(), "an operator adopts", "services", slices.Sorted(maps.Keys(by)), "by", body.By)
	refused, err := s.backend.Propose(r.Context(), cmds...)
	if err != nil {
		return nil, uncommitted(err)
	}
	for _, err := range refused {
		if err != nil {
			return nil, &Error{Status: http.StatusConflict, Message: reasonOf(err)}
		}
	}
	out.Candidates, out.Takeovers = all, s.takeoverNow().Takeovers
	return out, nil
}

// chosen are the candidates that were asked for, without the services of which
// one container cannot be adopted; where such a one was asked for by name, that
// is an error.
func chosen(body Adopt, all []state.Candidate) ([]state.Candidate, error) {
	everything := len(body.Services) == 0 && len(body.Containers) == 0
	left := map[string]bool{}
	var out []state.Candidate
	for _, k := range all {
		_, named := body.Containers[k.Name]
		if _, withHost := body.Containers[k.Host+"/"+k.Name]; withHost {
			named = true
		}
		asked := named || slices.Contains(body.Services, k.Service)
		why := cmp.Or(k.Cannot, k.Sick)
		switch {
		case why != "" && asked:
			return nil, &Error{Status: http.StatusConflict, Message: fmt.Sprintf("%s cannot be adopted: %s", k.Name, why)}
		case why != "":
			left[k.Service] = true
		case asked, everything:
			out = append(out, k)
		}
	}
	if everything {
		out = slices.DeleteFunc(out, func(k state.Candidate) bool { return left[k.Service] })
	}
	for _, service := range body.Services {
		if !slices.ContainsFunc(all, func(k state.Candidate) bool { return k.Service == service }) {
			return nil, &Error{Status: http.StatusNotFound, Message: fmt.Sprintf("docker compose runs nothing of a service %q", service)}
		}
	}
	return out, nil
}

func finish(d Decide) state.Command {
	return state.FinishAdoption{Services: d.Services, By: d.By}
}

func giveBack(d Decide) state.Command {
	return state.ReturnAdopted{Services: d.Services, Own: d.Own, Partly: d.Partly, By: d.By}
}

func ignore(d Decide) state.Command {
	return state.IgnoreForeign{Services: d.Services, By: d.By}
}

// decide commits a decision about what was adopted or found.
func (s *server) decide(command func(Decide) state.Command) func(*http.Request) (any, error) {
	return func(r *http.Request) (any, error) {
		var body Decide
		if err := readBody(r, &body); err != nil {
			return nil, err
		}
		cmd := command(body)
		out := s.takeoverNow()
		if _, replaces := cmd.(state.FinishAdoption); replaces {
			// What is stopped must not wait for its image then.
			if err := s.backend.HaveImages(r.Context(), s.adoptedServices(body.Services)); err != nil {
				return nil, notCommitted(err)
			}
		}
		s.Log.InfoContext(r.Context(), "an operator decides on a takeover", "command", state.Kind(cmd), "services", body.Services, "by", body.By)
		if err := s.propose(r, cmd); err != nil {
			return nil, err
		}
		out.Takeovers = s.takeoverNow().Takeovers
		return out, nil
	}
}

func (s *server) adoptedServices(of []string) []string {
	c, _ := s.backend.State()
	names := map[string]bool{}
	for i := range c.Instances.Values() {
		if i.IsAdopted() && (len(of) == 0 || slices.Contains(of, i.Service)) {
			names[i.Service] = true
		}
	}
	return slices.Sorted(maps.Keys(names))
}
