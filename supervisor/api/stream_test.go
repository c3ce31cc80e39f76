package api_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/supervisord/supervisord/supervisor/api"
	"github.com/supervisord/supervisord/supervisor/api/apitest"
	"github.com/supervisord/supervisord/supervisor/state"
)

// note adds an event to a backend.
func note(b *apitest.Backend, message string) {
	b.Must(state.Note{Event: state.Event{Kind: state.EventOrphanRemoved, Message: message}})
}

// listener is a caller of the event stream.
type listener struct {
	t     *testing.T
	lines *bufio.Scanner
	end   context.CancelFunc
}

func listen(t *testing.T, url string, header ...string) *listener {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { response.Body.Close() })
	if kind := response.Header.Get("Content-Type"); kind != "text/event-stream; charset=utf-8" {
		t.Errorf("Content-Type %q", kind)
	}
	return &listener{t, bufio.NewScanner(response.Body), cancel}
}

// hears reads until a line contains a text and returns all lines up to it.
func (l *listener) hears(text string) string {
	l.t.Helper()
	var heard []string
	for l.lines.Scan() {
		heard = append(heard, l.lines.Text())
		if strings.Contains(l.lines.Text(), text) {
			return strings.Join(heard, "\n")
		}
	}
	l.t.Fatalf("the stream ended (%v) before %q; heard\n%s", l.lines.Err(), text, strings.Join(heard, "\n"))
	return ""
}

func TestAStreamBeginsWithWhatComesAfterItsPosition(t *testing.T) {
	for _, c := range []struct {
		name, query string
		header      []string
		first       string
	}{
		{name: "with nothing, from now on", first: "id: 12"},
		{name: "after a number", query: "?after=9", first: "id: 10"},
		{name: "after zero, from the beginning", query: "?after=0", first: "id: 1"},
		{name: "Last-Event-ID, as a browser that comes back", header: []string{"Last-Event-ID", "10"}, first: "id: 11"},
		{name: "Last-Event-ID goes before the query", query: "?after=1", header: []string{"Last-Event-ID", "10"}, first: "id: 11"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := apitest.Example()
			s := serve(t, handler(b))
			l := listen(t, s.URL+"/v1/events/stream"+c.query, c.header...)
			l.hears("retry: 1000")
			note(b, "something new")
			heard := l.hears("something new")
			if _, first, _ := strings.Cut(heard, "\n"); !strings.HasPrefix(first, c.first+"\n") {
				t.Errorf("begins with\n%s\nwant %s", first, c.first)
			}
		})
	}
}

func TestAStreamHasTheFormOfServerSentEvents(t *testing.T) {
	b := apitest.New()
	s := serve(t, handler(b))
	l := listen(t, s.URL+"/v1/events/stream?after=0")
	l.hears("retry")
	note(b, "a\nb")
	got := l.hears("orphan_removed")
	want := "\nid: 1\n" + `data: {"seq":1,"at":"2026-03-01T12:00:00Z","kind":"orphan_removed","message":"a\nb"}`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestAQuietStreamShowsThatItIsAlive(t *testing.T) {
	s := serve(t, handler(apitest.New(), func(o *api.Options) { o.Heartbeat = time.Millisecond }))
	l := listen(t, s.URL+"/v1/events/stream")
	l.hears(": alive")
	l.hears(": alive")
}

func TestAStreamSaysWhatIsNoLongerKept(t *testing.T) {
	b := apitest.New()
	for n := range state.MaxEvents + 10 {
		note(b, fmt.Sprint("number ", n+1))
	}
	s := serve(t, handler(b))
	l := listen(t, s.URL+"/v1/events/stream?after=4")
	heard := l.hears("number 11")
	if want := "event: gap\nid: 4\ndata: {\"first\":5,\"last\":10}\n\nid: 11\n"; !strings.Contains(heard, want) {
		t.Errorf("no gap in\n%s", heard)
	}
}

func TestAStreamEndsWithTheServer(t *testing.T) {
	stopping := make(chan struct{})
	s := serve(t, handler(apitest.New(), func(o *api.Options) { o.Stopping = stopping }))
	l := listen(t, s.URL+"/v1/events/stream")
	l.hears("retry")
	close(stopping)
	for l.lines.Scan() {
		continue
	}
	if err := l.lines.Err(); err != nil {
		t.Errorf("the stream broke instead of ending: %v", err)
	}
}

func TestFollowWalksEventsAndGoesOnWhereItEnded(t *testing.T) {
	b := apitest.New()
	for n := range 3 {
		note(b, fmt.Sprint("number ", n+1))
	}
	stopping := make(chan struct{})
	first := serve(t, handler(b, func(o *api.Options) { o.Stopping = stopping }))
	var seen []uint64
	var last error
	for e, err := range client(t, api.Target{URL: first.URL}).Follow(t.Context(), 1) {
		if last = err; err != nil {
			break
		}
		if seen = append(seen, e.Seq); e.Seq == 3 {
			close(stopping)
		}
	}
	if !errors.Is(last, api.ErrStreamEnded) {
		t.Errorf("ended with %v", last)
	}
	note(b, "number 4")
	second := serve(t, handler(b))
	for e, err := range client(t, api.Target{URL: second.URL}).Follow(t.Context(), seen[len(seen)-1]) {
		if err != nil {
			t.Fatal(err)
		}
		seen = append(seen, e.Seq)
		break
	}
	if want := []uint64{2, 3, 4}; !slices.Equal(seen, want) {
		t.Errorf("saw %v, want %v", seen, want)
	}
}

func TestFollowEndsWithItsContext(t *testing.T) {
	s := serve(t, handler(apitest.New()))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c := client(t, api.Target{URL: s.URL})
	time.AfterFunc(time.Millisecond, cancel)
	for e, err := range c.Follow(ctx, 0) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%v %v", e, err)
		}
	}
}
