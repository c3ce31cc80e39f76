package main

import (
	"context"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/supervisord/supervisord/supervisor/api/apitest"
	"github.com/supervisord/supervisord/supervisor/state"
)

// A daemon that is restarted while somebody follows its events is found again,
// and nothing that happened meanwhile is missed or shown twice.
func TestEventsAreFollowedAcrossARestart(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	d := &daemon{backend: apitest.New(), ctx: ctx, socket: filepath.Join(t.TempDir(), "s.sock")}
	if err := d.start(nil); err != nil {
		t.Fatal(err)
	}
	note := func(text string) {
		d.backend.Must(state.Note{Event: state.Event{Kind: state.EventOrphanRemoved, Message: text}})
	}
	note("before")
	reader, writer := io.Pipe()
	done := make(chan int, 1)
	var complaints strings.Builder
	go func() {
		done <- run(ctx, []string{"events", "-f", "--socket", d.socket}, nil, strings.NewReader(""), writer, &complaints)
		writer.Close()
	}()
	seen := &lines{t: t, from: reader}
	seen.until("before")
	// What comes after the first page comes over the stream, so it is open.
	note("live")
	seen.until("live")
	if err := d.end(); err != nil {
		t.Fatal(err)
	}
	note("meanwhile")
	if err := d.start(nil); err != nil {
		t.Fatal(err)
	}
	seen.until("meanwhile")
	note("after")
	seen.until("after")
	cancel()
	if code := <-done; code != exitOK {
		t.Errorf("exit code %d", code)
	}
	if err := d.end(); err != nil {
		t.Error(err)
	}
	if n := strings.Count(seen.text.String(), "orphan_removed"); n != 4 {
		t.Errorf("%d events instead of 4:\n%s", n, &seen.text)
	}
	if !strings.Contains(complaints.String(), "; looking for the daemon again\n") {
		t.Errorf("stderr: %s", &complaints)
	}
}

// lines reads what a program prints.
type lines struct {
	t    *testing.T
	from io.Reader
	text strings.Builder
}

func (l *lines) until(want string) {
	l.t.Helper()
	part := make([]byte, 4096)
	for !strings.Contains(l.text.String(), want) {
		n, err := l.from.Read(part)
		l.text.Write(part[:n])
		if err != nil {
			l.t.Fatalf("%v before %q; read\n%s", err, want, &l.text)
		}
	}
}
