package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Target is where a daemon is found.
type Target struct {
	// Socket is the path of its unix socket; it is used where URL is empty.
	Socket string
	// URL is "http://host:port", Token what it wants for changing calls.
	URL   string
	Token string
}

// Client talks to one daemon. It is safe for concurrent use. Its errors wrap
// ErrUnreachable or an *Error, except where the context has ended or an answer
// cannot be read.
type Client struct {
	base  *url.URL
	token string
	http  *http.Client
	where string
}

const (
	dialWithin = 3 * time.Second
	// answerWithin is how long a daemon may think before its answer begins: a
	// commit gives up after 5 s.
	answerWithin = 15 * time.Second
	// maxAnswer bounds what is read of an answer.
	maxAnswer = 64 << 20
)

// NewClient makes a client. It connects to nothing yet; Close releases its
// idle connections.
func NewClient(t Target) (*Client, error) {
	c := &Client{token: t.Token, where: t.URL}
	dialer := &net.Dialer{Timeout: dialWithin}
	transport := &http.Transport{ResponseHeaderTimeout: answerWithin, DialContext: dialer.DialContext}
	c.http = &http.Client{Transport: transport}
	if t.URL == "" {
		c.where = t.Socket
		c.base = &url.URL{Scheme: "http", Host: "localhost"}
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return dialer.DialContext(ctx, "unix", t.Socket)
		}
		return c, nil
	}
	base, err := url.Parse(t.URL)
	if err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https" {
		return nil, fmt.Errorf("url %q: want http://host:port or https://host:port", t.URL)
	}
	c.base = base
	return c, nil
}

// Close releases idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Liveness asks whether the daemon's loop makes progress. A daemon that says
// it does not is no error.
func (c *Client) Liveness(ctx context.Context) (Liveness, error) {
	return get[Liveness](ctx, c, "health", nil)
}

// Monitoring asks for the health of the host and all it needs. Bad health is
// no error.
func (c *Client) Monitoring(ctx context.Context) (Monitoring, error) {
	return get[Monitoring](ctx, c, "admin/monitoring/health", nil)
}

// MonitoringHistory asks for the health reports of the last hour.
func (c *Client) MonitoringHistory(ctx context.Context) (MonitoringHistory, error) {
	return get[MonitoringHistory](ctx, c, "admin/monitoring/health/history", nil)
}

// SystemMetrics asks for the use of the host and the instances.
func (c *Client) SystemMetrics(ctx context.Context) (SystemMetrics, error) {
	return get[SystemMetrics](ctx, c, "admin/monitoring/system/metrics", nil)
}

// Status asks for the cluster on one page.
func (c *Client) Status(ctx context.Context) (Status, error) {
	return get[Status](ctx, c, "v1/status", nil)
}

// Hosts asks for the machines of the cluster.
func (c *Client) Hosts(ctx context.Context) (Hosts, error) {
	return get[Hosts](ctx, c, "v1/hosts", nil)
}

// Services asks for all services.
func (c *Client) Services(ctx context.Context) (Services, error) {
	return get[Services](ctx, c, "v1/services", nil)
}

// Service asks for one service; ErrNotFound where there is none.
func (c *Client) Service(ctx context.Context, name string) (ServiceDetail, error) {
	return get[ServiceDetail](ctx, c, "v1/services/"+url.PathEscape(name), nil)
}

// Instances asks for all instances.
func (c *Client) Instances(ctx context.Context) (Instances, error) {
	return get[Instances](ctx, c, "v1/instances", nil)
}

// Instance asks for one instance by name or id; ErrNotFound where there is
// none.
func (c *Client) Instance(ctx context.Context, name string) (Instance, error) {
	return get[Instance](ctx, c, "v1/instances/"+url.PathEscape(name), nil)
}

// InstanceHistory asks for the recorded use of an instance between two times.
func (c *Client) InstanceHistory(ctx context.Context, name string, from, to time.Time) (InstanceHistory, error) {
	q := url.Values{"from": {from.Format(time.RFC3339Nano)}, "to": {to.Format(time.RFC3339Nano)}}
	return get[InstanceHistory](ctx, c, "v1/instances/"+url.PathEscape(name)+"/history", q)
}

// Decisions asks why each service has as many instances as it has.
func (c *Client) Decisions(ctx context.Context) (Decisions, error) {
	return get[Decisions](ctx, c, "v1/decisions", nil)
}

// Decision asks it of one service; ErrNotFound where there is none.
func (c *Client) Decision(ctx context.Context, service string) (Explanation, error) {
	return get[Explanation](ctx, c, "v1/decisions/"+url.PathEscape(service), nil)
}

// LatestEvents asks for the last events.
func (c *Client) LatestEvents(ctx context.Context, limit int) (Events, error) {
	return get[Events](ctx, c, "v1/events", url.Values{"limit": {strconv.Itoa(limit)}})
}

// EventsAfter asks for the first events after a sequence number.
func (c *Client) EventsAfter(ctx context.Context, after uint64, limit int) (Events, error) {
	return get[Events](ctx, c, "v1/events", url.Values{"after": {strconv.FormatUint(after, 10)}, "limit": {strconv.Itoa(limit)}})
}

// Scale sets a service's count by hand; nil gives it back to the load. It
// fails with ErrNotFound, ErrRefused, ErrForbidden or ErrUnavailable.
func (c *Client) Scale(ctx context.Context, service string, count *int) (Service, error) {
	return send[Service](ctx, c, http.MethodPost, "v1/services/"+url.PathEscape(service)+"/scale", Scale{Count: count})
}

func (c *Client) request(ctx context.Context, method, path string, q url.Values, body io.Reader) (*http.Request, error) {
	// The path comes escaped; joining it as text would escape it again.
	at := c.base.JoinPath(path)
	at.RawQuery = q.Encode()
	r, err := http.NewRequestWithContext(ctx, method, at.String(), body)
	if err != nil {
		return nil, fmt.Errorf("request %s: %w", path, err)
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	return r, nil
}

// get asks for one answer.
func get[T any](ctx context.Context, c *Client, path string, q url.Values) (T, error) {
	r, err := c.request(ctx, http.MethodGet, path, q, nil)
	if err != nil {
		var zero T
		return zero, err
	}
	return exchange[T](c, r)
}

func exchange[T any](c *Client, r *http.Request) (answer T, err error) {
	response, err := c.do(r)
	if err != nil {
		return answer, err
	}
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	decoder := json.NewDecoder(io.LimitReader(response.Body, maxAnswer))
	if err := decoder.Decode(&answer); err != nil {
		return answer, fmt.Errorf("read the answer to %s: %w", r.URL.Path, err)
	}
	return answer, nil
}

// do sends a request and turns answers that are errors into errors. Health
// answers 503 with the same body as 200, so only a body with an error is one.
func (c *Client) do(r *http.Request) (*http.Response, error) {
	response, err := c.http.Do(r)
	if err != nil {
		return nil, c.unreachable(r.Context(), err)
	}
	if response.StatusCode < http.StatusBadRequest {
		return response, nil
	}
	data, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err := errors.Join(err, response.Body.Close()); err != nil {
		return nil, fmt.Errorf("read the answer to %s: %w", r.URL.Path, err)
	}
	e := Error{Status: response.StatusCode}
	if json.Unmarshal(data, &e) != nil {
		return nil, fmt.Errorf("%s answered %s, which is no answer of supervisord", c.where, response.Status)
	}
	if e.Message != "" {
		return nil, &e
	}
	response.Body = io.NopCloser(bytes.NewReader(data))
	return response, nil
}

// unreachable says why there was no answer, and what to do about it.
func (c *Client) unreachable(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	return &UnreachableError{Where: c.where, Err: err}
}

// UnreachableError is ErrUnreachable with the reason.
type UnreachableError struct {
	// Where is the path of the socket or the URL.
	Where string
	Err   error
}

func (e *UnreachableError) Error() string {
	return fmt.Sprintf("%v at %s: %v", ErrUnreachable, e.Where, e.Err)
}

func (e *UnreachableError) Unwrap() []error { return []error{ErrUnreachable, e.Err} }

// Hint says what to do about it.
func (e *UnreachableError) Hint() string {
	if errors.Is(e.Err, fs.ErrPermission) {
		return "the socket belongs to root: try sudo"
	}
	return "is it running? systemctl status supervisord; another place is named with --socket or --url"
}
