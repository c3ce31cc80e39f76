package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/supervisord/supervisord/supervisor/state"
)

// ErrStreamEnded: the daemon ended the stream, mostly because it stops. Going
// on after the last event's sequence number loses nothing.
var ErrStreamEnded = errors.New("the event stream ended")

// maxEvent bounds one line of the event stream.
const maxEvent = 1 << 20

// Follow walks the events after a sequence number as they happen, over one
// connection. It ends with one error: the context's, ErrUnreachable, an
// *Error, or ErrStreamEnded. Events that are no longer kept are passed over.
func (c *Client) Follow(ctx context.Context, after uint64) iter.Seq2[state.Event, error] {
	return func(yield func(state.Event, error) bool) {
		r, err := c.request(ctx, http.MethodGet, "v1/events/stream", url.Values{"after": {strconv.FormatUint(after, 10)}}, nil)
		if err != nil {
			yield(state.Event{}, err)
			return
		}
		response, err := c.do(r)
		if err != nil {
			yield(state.Event{}, err)
			return
		}
		defer response.Body.Close()
		left, err := readEvents(response.Body, func(e state.Event) bool { return yield(e, nil) })
		switch {
		case left:
			return
		case ctx.Err() != nil:
			err = context.Cause(ctx)
		case err == nil || errors.Is(err, io.ErrUnexpectedEOF):
			err = ErrStreamEnded
		default:
			err = fmt.Errorf("%w: %w", ErrStreamEnded, err)
		}
		yield(state.Event{}, err)
	}
}

// readEvents reads server-sent events in the form of this package until their
// end, or until f has enough.
func readEvents(from io.Reader, f func(state.Event) bool) (left bool, err error) {
	lines := bufio.NewScanner(from)
	lines.Buffer(nil, maxEvent)
	name, data := "", ""
	for lines.Scan() {
		field, value, _ := strings.Cut(lines.Text(), ":")
		value = strings.TrimPrefix(value, " ")
		switch field {
		case "event":
			name = value
		case "data":
			data = value
		case "":
			if lines.Text() != "" {
				// A comment shows that the daemon is alive.
				continue
			}
			if name == "" && data != "" {
				var e state.Event
				if err := json.Unmarshal([]byte(data), &e); err != nil {
					return false, fmt.Errorf("read event: %w", err)
				}
				if !f(e) {
					return true, nil
				}
			}
			name, data = "", ""
		}
	}
	return false, lines.Err()
}

// LogsQuery says which lines of a service's log are wanted; see LogQuery.
type LogsQuery struct {
	Follow     bool
	Since      time.Time
	Tail       int
	Timestamps bool
}

// Logs writes the lines of all instances of a service to out, each after
// "<instance> | ". It returns nil at their end, or at the daemon's, and the
// context's error when that ends.
func (c *Client) Logs(ctx context.Context, service string, q LogsQuery, out io.Writer) error {
	values := url.Values{}
	if q.Follow {
		values.Set("follow", "true")
	}
	if q.Timestamps {
		values.Set("timestamps", "true")
	}
	if !q.Since.IsZero() {
		values.Set("since", q.Since.Format(time.RFC3339Nano))
	}
	if q.Tail > 0 {
		values.Set("tail", strconv.Itoa(q.Tail))
	}
	r, err := c.request(ctx, http.MethodGet, "v1/logs/"+url.PathEscape(service), values, nil)
	if err != nil {
		return err
	}
	response, err := c.do(r)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if _, err := io.Copy(out, response.Body); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return fmt.Errorf("read the log of %s: %w", service, err)
	}
	return nil
}
