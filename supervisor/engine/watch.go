package engine

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"

	"github.com/supervisord/supervisord/supervisor/agent"
)

// Watch calls f for each event of this cluster's containers, in order and from
// this goroutine, until the context ends or the stream breaks; it returns why.
// A stream that broke is ErrUnavailable; to connect again is the caller's job.
//
// The first event is a Connected, sent when the engine has accepted the
// subscription: from then on nothing is missed. What happened before is not
// told again, so the caller should list once.
//
// The engine does not notice when a container runs out of memory before it is
// quite started: then there is no OOM, only a Died with code 137.
func (e *Engine) Watch(ctx context.Context, f func(agent.Event)) error {
	// The engine may have been exchanged since the stream broke.
	if err := e.Ping(ctx); err != nil {
		return fmt.Errorf("watch containers: %w", err)
	}
	if err := e.watch(ctx, f); err != nil {
		return failure(ctx, err, "watch containers")
	}
	return nil
}

// watch makes the request itself. The client's own Events tells of a refused
// connection only after it has returned, so it cannot be known from it when
// the subscription stands.
func (e *Engine) watch(ctx context.Context, f func(agent.Event)) (err error) {
	c := e.api()
	transport := &http.Transport{
		// The dialer speaks TLS by itself where that is configured.
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return c.Dialer()(ctx) },
		DisableKeepAlives: true,
	}
	query, err := e.watchQuery(time.Now())
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://engine/v"+c.ClientVersion()+"/events?"+query.Encode(), nil)
	if err != nil {
		return err
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, resp.Body.Close()) }()
	if resp.StatusCode != http.StatusOK {
		return refusal(resp)
	}
	f(agent.Event{Kind: agent.Connected, At: time.Now()})
	for messages := json.NewDecoder(resp.Body); ; {
		var m events.Message
		if err := messages.Decode(&m); err != nil {
			return err
		}
		if event, ok := translateEvent(m); ok && e.claims(&event, m) {
			f(event)
		}
	}
}

// watchQuery asks for the events from a moment on. The engine sends the head
// of its answer a little before it subscribes; with the moment of the request
// given, it also sends what happened in between.
func (e *Engine) watchQuery(since time.Time) (url.Values, error) {
	// The engine cannot be asked for a label or an id, and adopted containers
	// have no label of ours.
	args := filters.NewArgs()
	args.Add("type", string(events.ContainerEventType))
	for _, a := range []events.Action{events.ActionStart, events.ActionDie, events.ActionOOM, events.ActionHealthStatus, events.ActionDestroy} {
		args.Add("event", string(a))
	}
	text, err := filters.ToJSON(args)
	if err != nil {
		return nil, err
	}
	return url.Values{
		"filters": {text},
		"since":   {fmt.Sprintf("%d.%09d", since.Unix(), since.Nanosecond())},
	}, nil
}

func refusal(resp *http.Response) error {
	const longest = 4096
	body, err := io.ReadAll(io.LimitReader(resp.Body, longest))
	if err != nil {
		return fmt.Errorf("%s: %w", resp.Status, err)
	}
	return fmt.Errorf("the engine answers %s: %s", resp.Status, strings.TrimSpace(string(body)))
}

// claims says whether an event is of a container of ours; where the state knows
// that, it names the instance.
func (e *Engine) claims(event *agent.Event, m events.Message) bool {
	if m.Actor.Attributes[LabelCluster] == e.cluster {
		return true
	}
	a, ok := e.adoptedHere()[m.Actor.ID]
	if ok {
		event.Instance = a.Instance
	}
	return ok
}

// translateEvent returns false for what an agent does not look at.
func translateEvent(m events.Message) (agent.Event, bool) {
	e := agent.Event{
		At:        time.Unix(0, m.TimeNano).UTC(),
		Container: m.Actor.ID,
		Instance:  m.Actor.Attributes[LabelInstance],
	}
	if status, ok := strings.CutPrefix(string(m.Action), string(events.ActionHealthStatus)+": "); ok {
		e.Kind, e.Health = agent.HealthChanged, agent.HealthStatus(status)
		return e, e.Health == agent.HealthHealthy || e.Health == agent.HealthUnhealthy
	}
	switch m.Action {
	case events.ActionStart:
		e.Kind = agent.Started
	case events.ActionOOM:
		e.Kind = agent.OOM
	case events.ActionDestroy:
		e.Kind = agent.Removed
	case events.ActionDie:
		code, err := strconv.Atoi(m.Actor.Attributes["exitCode"])
		if err != nil {
			// Without its code it is dead all the same; 0 would look like success.
			code = -1
		}
		e.Kind, e.ExitCode = agent.Died, code
	default:
		return agent.Event{}, false
	}
	return e, true
}
