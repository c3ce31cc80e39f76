package compose

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"
)

// pace is how fast a watch reacts.
type pace struct {
	// quiet is how long nothing must have happened before the file is read:
	// an edit is several events. limit bounds the wait under steady events.
	quiet, limit time.Duration
	// grace is how long a file that was there may be missing or empty: editors
	// and deployments take it away for a moment.
	grace time.Duration
	// poll is the interval of looking without an event; blind replaces it
	// where the kernel gives no events.
	poll, blind time.Duration
}

// defaultPace brings an edit into force within a second, also at its slowest:
// 500 ms of steady events, or 100 ms and the grace of a missing file.
func defaultPace() pace {
	return pace{
		quiet: 100 * time.Millisecond, limit: 500 * time.Millisecond, grace: 400 * time.Millisecond,
		poll: 10 * time.Second, blind: 500 * time.Millisecond,
	}
}

// Watch loads the file, calls onChange with what came of it, and again each
// time when the content of the file, or of one that it refers to, has become
// another one. A file that is written anew with the same content is no change.
// It calls from its own goroutine, one call at a time, so that onChange may
// take its time; edits in between are seen as one. Of opts only Environ is
// used.
//
// Watch returns only with the context's error. Where the kernel gives no
// events, it looks twice a second instead.
func Watch(ctx context.Context, file string, opts Options, onChange func(*Project, error)) error {
	abs, err := filepath.Abs(file)
	if err != nil {
		return fmt.Errorf("watch compose file: %w", err)
	}
	w := &watch{file: file, abs: abs, opts: opts, onChange: onChange, pace: defaultPace()}
	source, err := fsnotify.NewWatcher()
	if err != nil {
		w.source = noSource{}
		return w.run(ctx, nil, nil)
	}
	defer source.Close()
	w.source = source
	return w.run(ctx, source.Events, source.Errors)
}

// source tells of events in directories; *fsnotify.Watcher is one.
type source interface {
	Add(dir string) error
	Remove(dir string) error
	WatchList() []string
}

// noSource stands for a kernel that gives no events.
type noSource struct{}

func (noSource) Add(string) error    { return errors.ErrUnsupported }
func (noSource) Remove(string) error { return nil }
func (noSource) WatchList() []string { return nil }

// watch is the state of one Watch.
type watch struct {
	file, abs string
	opts      Options
	onChange  func(*Project, error)
	pace      pace
	source    source
	// files are all files whose content matters, names every path on the way
	// to them: an event of another name is none of ours.
	files []string
	names map[string]bool
	// content is what was delivered last, "" before the first time.
	content string
	// blind says that not all directories could be watched.
	blind bool
}

// run looks when it is time to. Events are only hints: what counts is what the
// files contain when it looks.
func (w *watch) run(ctx context.Context, events <-chan fsnotify.Event, failures <-chan error) error {
	w.files = []string{w.abs}
	quiet, limit, poll := stopped(), stopped(), time.NewTimer(0)
	defer quiet.Stop()
	defer limit.Stop()
	defer poll.Stop()
	waiting, patient := false, false
	soon := func() {
		quiet.Reset(w.pace.quiet)
		if !waiting {
			limit.Reset(w.pace.limit)
			waiting = true
		}
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e := <-events:
			if w.names[filepath.Clean(e.Name)] {
				soon()
			}
			continue
		case <-failures:
			// Mostly an overflow of the queue: events are lost, so look.
			soon()
			continue
		case <-quiet.C:
		case <-limit.C:
		case <-poll.C:
		}
		quiet.Stop()
		limit.Stop()
		waiting = false
		// A file that has just gone gets its grace, once.
		patient = w.look(ctx, !patient)
		poll.Reset(w.next(patient))
	}
}

func (w *watch) next(patient bool) time.Duration {
	switch {
	case patient:
		return w.pace.grace
	case w.blind:
		return w.pace.blind
	}
	return w.pace.poll
}

func stopped() *time.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}

// look reads the file where its content, or that of a file it refers to, is
// another than the one delivered, and delivers it. It reports whether it waits
// for a missing file, which it does only where it may.
func (w *watch) look(ctx context.Context, mayWait bool) (waits bool) {
	w.follow()
	if w.content != "" {
		if w.fingerprint() == w.content {
			return false
		}
		if mayWait && w.gone() {
			return true
		}
	}
	project, content, err := w.read(ctx)
	if content == w.content {
		return false
	}
	w.content = content
	w.onChange(project, err)
	return false
}

// read loads the file until the files it refers to are known, watched, and the
// same before and after; or three times, after which the next look goes on.
func (w *watch) read(ctx context.Context) (project *Project, content string, err error) {
	for range 3 {
		var others []string
		before := w.fingerprint()
		project, others, err = load(ctx, w.file, w.opts)
		files := append([]string{w.abs}, others...)
		slices.Sort(files)
		w.files = slices.Compact(files)
		w.follow()
		if content = w.fingerprint(); content == before {
			break
		}
		// Not what was read: the next look has to find a difference.
		content = before
	}
	return project, content, err
}

// gone says whether the file is missing or empty.
func (w *watch) gone() bool {
	data, err := os.ReadFile(w.abs)
	return errors.Is(err, fs.ErrNotExist) || err == nil && len(bytes.TrimSpace(data)) == 0
}

// fingerprint identifies the content of all files together.
func (w *watch) fingerprint() string {
	sum := sha256.New()
	for _, name := range w.files {
		data, err := readRegular(name)
		fmt.Fprintf(sum, "%q %d %q\n", name, len(data), reasonOf(err))
		sum.Write(data)
	}
	return hex.EncodeToString(sum.Sum(nil))
}

func reasonOf(err error) string {
	if err == nil {
		return ""
	}
	return reason(err)
}

// readRegular does not wait for someone to write to a pipe.
func readRegular(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errNotRegular
	}
	return os.ReadFile(name)
}

// follow watches the directories on the way to all files as it is now: a
// directory may have been made anew, and a link may lead elsewhere.
func (w *watch) follow() {
	w.names = map[string]bool{}
	dirs := map[string]bool{}
	for _, file := range w.files {
		trace(file, w.names, dirs)
	}
	w.blind = false
	for dir := range dirs {
		// Adding a directory again is how one that was made anew is found.
		if err := w.source.Add(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			w.blind = true
		}
	}
	for _, dir := range w.source.WatchList() {
		if !dirs[dir] {
			// It fails where the directory is gone, and its watch with it.
			_ = w.source.Remove(dir)
		}
	}
}
