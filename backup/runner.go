package backup

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"path"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"filippo.io/age"
	"github.com/klauspost/compress/zstd"
)

// Dumper writes a consistent dump of one database.
type Dumper interface {
	// Extension is that of the dump's format, ".sql" or ".rdb".
	Extension() string
	// Dump writes the dump and returns what it holds. It returns no error only
	// where the tool has ended well after its last byte, and that was the end
	// mark of the format. When the context ends so does the tool.
	Dump(ctx context.Context, to io.Writer) (Content, error)
}

// Job is one backup to be taken.
type Job struct {
	Place
	// ID is unique among the backups of the place.
	ID string
	// Recipients are age public keys; none leaves the archive readable.
	Recipients []string
	// Targets get the archive all at once.
	Targets []Target
	Dumper  Dumper
	// LowPriority uses one core to compress with.
	LowPriority bool
	// Hold leaves the notes of what is whole until Release: where the caller ends
	// before anybody knows of the backup, a Sweep finds it by them.
	Hold bool
	// Stall is how long a target may take for one part of the archive before
	// it is given up; 5 min by default.
	Stall time.Duration
	Now   func() time.Time
	// Progress is counted up while the job runs; it may be nil.
	Progress *Progress
}

// Progress counts what has passed. It is safe for concurrent use.
type Progress struct {
	// Dumped are bytes of the dump, Stored of the archive.
	Dumped, Stored atomic.Int64
	phase          atomic.Value
}

// Phase is what is being done: "dump", "read back", "restore", "check".
func (p *Progress) Phase() string {
	phase, _ := p.phase.Load().(string)
	return phase
}

// Enter begins a phase.
func (p *Progress) Enter(phase string) { p.phase.Store(phase) }

// Copy is what became of a backup in one target.
type Copy struct {
	Target string
	// Err is nil where the target has the backup.
	Err error
}

// ErrNoTarget: no target has the backup.
var ErrNoTarget = errors.New("no target took the backup")

const (
	defaultStall = 5 * time.Minute
	// partSize is how much a target gets at once, and queued how many parts
	// may wait for it.
	partSize = 1 << 20
	queued   = 4
	// settle bounds the cleaning up after a job whose context has ended.
	settle = time.Minute
)

// Run takes the backup. It succeeds when one target has it at least; the copies
// say which have. On an error nothing is left that looks like a backup, and
// what could not be removed is found by Sweep.
func (j Job) Run(ctx context.Context) (Manifest, []Copy, error) {
	m := Manifest{
		Format: Format, ID: j.ID, Cluster: j.Cluster, Service: j.Service, Began: j.Now().UTC().Round(0),
		Recipients: j.Recipients,
	}
	if err := j.validate(); err != nil {
		return m, nil, fmt.Errorf("back up %s: %w", j.Service, err)
	}
	if j.Progress == nil {
		j.Progress = &Progress{}
	}
	keys, err := Recipients(j.Recipients)
	if err != nil {
		return m, nil, fmt.Errorf("back up %s: %w", j.Service, err)
	}
	m.File = j.ID + j.Dumper.Extension() + ".zst"
	if len(keys) > 0 {
		m.File += ".age"
	}
	ends := j.begin(ctx, m)
	err = j.stream(ctx, &m, keys, ends)
	m.Ended = j.Now().UTC().Round(0)
	if err == nil {
		j.Progress.Enter("read back")
		j.finish(ctx, m, ends)
	}
	copies := make([]Copy, len(ends))
	all := make([]error, 0, len(ends))
	good := 0
	for i, e := range ends {
		if err != nil {
			e.fail(err)
		}
		why := e.failed()
		copies[i] = Copy{Target: e.target.String(), Err: why}
		if why == nil {
			good++
			continue
		}
		all = append(all, fmt.Errorf("%s: %w", e.target, why))
	}
	j.clean(ctx, m, ends)
	switch {
	case err != nil:
		return m, copies, fmt.Errorf("back up %s: %w", j.Service, err)
	case good == 0:
		return m, copies, fmt.Errorf("back up %s: %w: %w", j.Service, ErrNoTarget, errors.Join(all...))
	}
	return m, copies, nil
}

func (j Job) validate() error {
	switch {
	case !idPattern.MatchString(j.ID):
		return fmt.Errorf("%q cannot be a backup's id", j.ID)
	case len(j.Targets) == 0:
		return errors.New("there is no target")
	}
	return j.Place.validate()
}

// Recipients reads age public keys.
func Recipients(keys []string) ([]age.Recipient, error) {
	if len(keys) == 0 {
		return nil, nil
	}
	for _, k := range keys {
		if strings.HasPrefix(strings.ToUpper(k), "AGE-SECRET-KEY-") {
			// The text must not be repeated.
			return nil, errors.New("encrypt_to: a private key is given: want a public one, age1…")
		}
	}
	out, err := age.ParseRecipients(strings.NewReader(strings.Join(keys, "\n")))
	if err != nil {
		return nil, fmt.Errorf("encrypt_to: %w", err)
	}
	return out, nil
}

// begin leaves the note of the archive in every target and opens it there. A
// target that fails is out from then on.
func (j Job) begin(ctx context.Context, m Manifest) []*end {
	note, err := m.seal()
	ends := make([]*end, len(j.Targets))
	var wg sync.WaitGroup
	for i, t := range j.Targets {
		e := &end{target: t, place: j.Place, stall: j.Stall}
		if e.stall == 0 {
			e.stall = defaultStall
		}
		ends[i] = e
		ctx, cancel := context.WithCancel(ctx)
		e.cancel = cancel
		wg.Go(func() {
			if err != nil {
				e.fail(err)
				return
			}
			if err := t.Put(ctx, j.note(m.ID), note); err != nil {
				e.fail(err)
				return
			}
			e.noted = true
			upload, err := t.Create(ctx, path.Join(j.dir(), m.File))
			if err != nil {
				e.fail(err)
				return
			}
			e.upload = upload
		})
	}
	wg.Wait()
	return ends
}

// stream runs the dump through to all targets.
func (j Job) stream(ctx context.Context, m *Manifest, keys []age.Recipient, ends []*end) (err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	out := &fan{ends: ends, sum: sha256.New(), stored: &j.Progress.Stored}
	if err := out.alive(); err != nil {
		return err
	}
	j.Progress.Enter("dump")
	out.start(ctx, cancel)
	defer func() {
		if end := out.wait(); err == nil {
			err = end
		}
	}()
	buffered := bufio.NewWriterSize(out, partSize)
	var to io.Writer = buffered
	var sealed io.WriteCloser = nopCloser{buffered}
	if len(keys) > 0 {
		if sealed, err = age.Encrypt(buffered, keys...); err != nil {
			return fmt.Errorf("encrypt: %w", err)
		}
		to = sealed
	}
	workers := 2
	if j.LowPriority {
		workers = 1
	}
	squeezed, err := zstd.NewWriter(to, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(workers))
	if err != nil {
		return fmt.Errorf("compress: %w", err)
	}
	counted := &counter{to: squeezed, n: &j.Progress.Dumped}
	m.Content, err = j.Dumper.Dump(ctx, counted)
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = cause
	}
	err = errors.Join(err, squeezed.Close())
	if err != nil {
		return err
	}
	if err := errors.Join(sealed.Close(), buffered.Flush()); err != nil {
		return err
	}
	m.DumpSize, m.Size, m.SHA256 = counted.n.Load(), out.size, hex.EncodeToString(out.sum.Sum(nil))
	return nil
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// counter counts what passes.
type counter struct {
	to io.Writer
	n  *atomic.Int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.to.Write(p)
	c.n.Add(int64(n))
	return n, err
}

// fan writes one stream to all ends that are well, with the sum of it.
type fan struct {
	ends   []*end
	sum    hash.Hash
	size   int64
	stored *atomic.Int64
	ctx    context.Context
}

// alive fails where no end is left.
func (f *fan) alive() error {
	var errs []error
	for _, e := range f.ends {
		err := e.failed()
		if err == nil {
			return nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", e.target, err))
	}
	return fmt.Errorf("%w: %w", ErrNoTarget, errors.Join(errs...))
}

func (f *fan) start(ctx context.Context, cancel context.CancelCauseFunc) {
	f.ctx = ctx
	for _, e := range f.ends {
		if e.failed() != nil {
			continue
		}
		e.parts, e.done = make(chan []byte, queued), make(chan struct{})
		go func() {
			defer close(e.done)
			e.drain()
			// The dump goes on as long as anybody wants it.
			if err := f.alive(); err != nil {
				cancel(err)
			}
		}()
	}
}

// Write hands a copy of p to every end. It waits for the slowest, but not for
// one that stands still.
func (f *fan) Write(p []byte) (int, error) {
	if err := f.alive(); err != nil {
		return 0, err
	}
	part := append([]byte(nil), p...)
	for _, e := range f.ends {
		e.send(f.ctx, part)
	}
	if err := f.ctx.Err(); err != nil {
		return 0, context.Cause(f.ctx)
	}
	f.sum.Write(p)
	f.size += int64(len(p))
	f.stored.Add(int64(len(p)))
	return len(p), nil
}

// wait ends the stream and waits until all ends have what was sent. An end that
// stands still in a call of the kernel, as on a dead network file system, cannot
// be waited for; its goroutine ends with the call.
func (f *fan) wait() error {
	for _, e := range f.ends {
		if e.parts == nil {
			continue
		}
		close(e.parts)
		if e.stalled {
			continue
		}
		t := time.NewTimer(time.Duration(queued+1) * e.stall)
		select {
		case <-e.done:
		case <-t.C:
			e.giveUp()
		}
		t.Stop()
	}
	return f.alive()
}

// end is one target of a job.
type end struct {
	target Target
	place  Place
	stall  time.Duration
	upload Upload
	parts  chan []byte
	noted  bool
	// cancel ends the context of the upload; done is closed when its last part
	// is written. stalled: nobody waits for it any more.
	cancel  context.CancelFunc
	done    chan struct{}
	stalled bool

	mu  sync.Mutex
	err error
}

// giveUp leaves an end alone that stands still.
func (e *end) giveUp() {
	e.fail(fmt.Errorf("it has taken nothing for %s", e.stall))
	e.stalled = true
	e.cancel()
}

func (e *end) fail(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err == nil {
		e.err = err
	}
}

func (e *end) failed() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.err
}

func (e *end) send(ctx context.Context, part []byte) {
	if e.failed() != nil {
		return
	}
	select {
	case e.parts <- part:
		return
	default:
	}
	t := time.NewTimer(e.stall)
	defer t.Stop()
	select {
	case e.parts <- part:
	case <-ctx.Done():
	case <-t.C:
		e.giveUp()
	}
}

// drain writes what is sent until that ends. After an error it only takes it.
func (e *end) drain() {
	for part := range e.parts {
		if e.failed() != nil {
			continue
		}
		if _, err := e.upload.Write(part); err != nil {
			e.fail(err)
		}
	}
}
