package api

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/supervisord/supervisord/supervisor/state"
)

// writeWithin is how long a caller may take to accept a part of a stream
// before it counts as gone.
const writeWithin = 10 * time.Second

// gap is the name of the event that says that events are no longer kept; its
// data are the first and the last sequence number that are missing.
const gap = "gap"

// Gap are events that were asked for and are no longer kept.
type Gap struct {
	First uint64 `json:"first"`
	Last  uint64 `json:"last"`
}

// stream serves GET /v1/events/stream as server-sent events: each has its
// sequence number as id and the JSON of state.Event as data. It begins after
// the header Last-Event-ID, or else after the parameter after, or else with
// what happens from now on. A position that this host has not reached yet is
// waited for.
func (s *server) stream(w http.ResponseWriter, r *http.Request) {
	c, changed := s.backend.State()
	last, err := position(r, c.LastEvent)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	out, err := newStreamWriter(w)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	header := w.Header()
	header.Set("Content-Type", "text/event-stream; charset=utf-8")
	// A proxy that gathers answers would hold events back.
	header.Set("X-Accel-Buffering", "no")
	out.printf("retry: 1000\n\n")
	beat := time.NewTicker(s.Heartbeat)
	defer beat.Stop()
	for {
		last = out.events(c, last)
		if err := out.flush(); err != nil {
			s.Log.DebugContext(r.Context(), "an event stream ends", "err", err)
			return
		}
		select {
		case <-r.Context().Done():
			return
		case <-s.Stopping:
			return
		case <-beat.C:
			out.printf(": alive\n\n")
		case <-changed:
			c, changed = s.backend.State()
		}
	}
}

func position(r *http.Request, newest uint64) (uint64, error) {
	id := r.Header.Get("Last-Event-ID")
	if id == "" {
		return uintParam(r, "after", newest)
	}
	n, err := strconv.ParseUint(id, 10, 64)
	if err != nil {
		return 0, invalid("Last-Event-ID %q: want a sequence number", id)
	}
	return n, nil
}

// streamWriter writes to a caller that may be slow or gone. After an error it
// does nothing.
type streamWriter struct {
	w       http.ResponseWriter
	control *http.ResponseController
	err     error
}

// newStreamWriter lifts the server's time limit for reading a request, which
// would otherwise end a stream too.
func newStreamWriter(w http.ResponseWriter) (*streamWriter, error) {
	control := http.NewResponseController(w)
	if err := ifSupported(control.SetReadDeadline(time.Time{})); err != nil {
		return nil, fmt.Errorf("begin a stream: %w", err)
	}
	return &streamWriter{w: w, control: control}, nil
}

func (o *streamWriter) printf(format string, args ...any) {
	if o.err == nil {
		o.deadline()
	}
	if o.err == nil {
		_, o.err = fmt.Fprintf(o.w, format, args...)
	}
}

// deadline is set anew for each part: a stream as a whole has none.
func (o *streamWriter) deadline() {
	o.err = ifSupported(o.control.SetWriteDeadline(time.Now().Add(writeWithin)))
}

// ifSupported passes over a connection that has no time limits, which then has
// none to set.
func ifSupported(err error) error {
	if errors.Is(err, http.ErrNotSupported) {
		return nil
	}
	return err
}

func (o *streamWriter) flush() error {
	if o.err == nil {
		o.err = o.control.Flush()
	}
	return o.err
}

// events writes what came after a position and returns the new one.
func (o *streamWriter) events(c state.Cluster, last uint64) uint64 {
	events := c.EventsAfter(last)
	if len(events) > 0 && events[0].Seq > last+1 {
		o.data(gap, last, Gap{First: last + 1, Last: events[0].Seq - 1})
	}
	for _, e := range events {
		o.data("", e.Seq, e)
		last = e.Seq
	}
	return last
}

func (o *streamWriter) data(name string, id uint64, value any) {
	text, err := json.Marshal(value)
	if err != nil {
		o.err = err
		return
	}
	if name != "" {
		o.printf("event: %s\n", name)
	}
	o.printf("id: %d\ndata: %s\n\n", id, text)
}
