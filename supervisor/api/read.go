package api

import (
	"net/http"
	"strconv"
	"time"

	"github.com/supervisord/supervisord/supervisor/state"
)

func (s *server) liveness(w http.ResponseWriter, r *http.Request) {
	local := s.backend.Local()
	body := Liveness{
		Status: LivenessOK, Host: local.Host, Version: local.Version,
		StartedAt: local.StartedAt, LastRound: local.LastRound,
	}
	status := http.StatusOK
	switch {
	case local.LastRound.IsZero():
		body.Status, status = LivenessStarting, http.StatusServiceUnavailable
	case s.Now().Sub(local.LastRound) > stalledAfter:
		body.Status, status = LivenessStalled, http.StatusServiceUnavailable
	}
	s.write(w, r, status, body)
}

func (s *server) monitoring(w http.ResponseWriter, r *http.Request) {
	body := latestHealth(s.backend.Health(), s.Now())
	status := http.StatusOK
	if body.Overall == Unhealthy || body.Overall == Unknown {
		status = http.StatusServiceUnavailable
	}
	s.write(w, r, status, body)
}

func (s *server) monitoringHistory(*http.Request) (any, error) {
	reports := s.backend.Health()
	body := MonitoringHistory{Reports: make([]Monitoring, len(reports))}
	for i, report := range reports {
		body.Reports[i] = monitoringOf(report)
	}
	return body, nil
}

func (s *server) systemMetrics(*http.Request) (any, error) {
	v := s.view()
	body := SystemMetrics{At: v.now, Host: v.local.Host, Machine: v.local.Machine, Raft: v.local.Raft, Instances: []InstanceUse{}}
	for _, i := range v.instances() {
		body.Instances = append(body.Instances, InstanceUse{Name: i.Name, Service: i.Service, Phase: i.Phase, Sample: i.Sample})
	}
	return body, nil
}

func (s *server) status(*http.Request) (any, error) {
	v := s.view()
	return Status{
		At: v.now, Cluster: v.ID, Host: v.local.Host, Version: v.local.Version, StartedAt: v.local.StartedAt,
		Raft: v.local.Raft, Spec: v.spec(), Health: latestHealth(s.backend.Health(), v.now),
		Hosts: v.hosts(), Services: v.services(), Outside: v.outside(), LastEvent: v.LastEvent, Canary: v.trying(),
		Connected: v.local.Connected,
	}, nil
}

func (s *server) hosts(*http.Request) (any, error) {
	return Hosts{s.view().hosts()}, nil
}

func (s *server) services(*http.Request) (any, error) {
	return Services{s.view().services()}, nil
}

func (s *server) service(r *http.Request) (any, error) {
	v, name := s.view(), r.PathValue("name")
	if _, ok := v.Spec.Services[name]; !ok {
		return nil, noService(name)
	}
	return v.detail(name), nil
}

func (s *server) instances(*http.Request) (any, error) {
	v := s.view()
	return Instances{At: v.now, Instances: v.instances()}, nil
}

func (s *server) instance(r *http.Request) (any, error) {
	return s.findInstance(r)
}

func (s *server) findInstance(r *http.Request) (Instance, error) {
	v, name := s.view(), r.PathValue("name")
	i, ok := v.find(name)
	if !ok {
		return Instance{}, noInstance(name)
	}
	return v.instance(i), nil
}

func (s *server) instanceHistory(r *http.Request) (any, error) {
	i, err := s.findInstance(r)
	if err != nil {
		return nil, err
	}
	body := InstanceHistory{Instance: i.Name}
	if body.To, err = timeParam(r, "to", s.Now().UTC()); err != nil {
		return nil, err
	}
	if body.From, err = timeParam(r, "from", body.To.Add(-time.Hour)); err != nil {
		return nil, err
	}
	if body.To.Before(body.From) {
		return nil, invalid("from %s is after to %s", body.From.Format(time.RFC3339), body.To.Format(time.RFC3339))
	}
	body.Points = append([]Point{}, s.backend.Points(i.ID, body.From, body.To)...)
	return body, nil
}

func (s *server) decisions(*http.Request) (any, error) {
	v := s.view()
	body := Decisions{Decisions: []Explanation{}}
	for _, name := range v.names() {
		body.Decisions = append(body.Decisions, v.explain(name))
	}
	return body, nil
}

func (s *server) decision(r *http.Request) (any, error) {
	v, name := s.view(), r.PathValue("service")
	if _, ok := v.Spec.Services[name]; !ok {
		return nil, noService(name)
	}
	return v.explain(name), nil
}

const defaultEvents = 100

func (s *server) events(r *http.Request) (any, error) {
	limit, err := uintParam(r, "limit", defaultEvents)
	if err != nil {
		return nil, err
	}
	if limit == 0 || limit > state.MaxEvents {
		return nil, invalid("limit %d: want 1 to %d", limit, state.MaxEvents)
	}
	after, err := uintParam(r, "after", 0)
	if err != nil {
		return nil, err
	}
	c, _ := s.backend.State()
	body := Events{Events: []state.Event{}, LastEvent: c.LastEvent}
	if _, first, ok := c.Events.First(); ok {
		body.Oldest = first.Seq
	}
	events := c.EventsAfter(after)
	if over := len(events) - int(limit); over > 0 && r.URL.Query().Has("after") {
		events = events[:limit]
	} else if over > 0 {
		events = events[over:]
	}
	body.Events = append(body.Events, events...)
	return body, nil
}

func uintParam(r *http.Request, name string, fallback uint64) (uint64, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return fallback, nil
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, invalid("%s %q: want a whole number", name, text)
	}
	return n, nil
}

func boolParam(r *http.Request, name string) (bool, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return false, nil
	}
	b, err := strconv.ParseBool(text)
	if err != nil {
		return false, invalid("%s %q: want true or false", name, text)
	}
	return b, nil
}

func timeParam(r *http.Request, name string, fallback time.Time) (time.Time, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return fallback, nil
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return time.Time{}, invalid("%s %q: want a time as 2026-03-01T12:00:00Z", name, text)
	}
	return t, nil
}
