package nginx

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/supervisord/supervisord/lbconfig"
)

// confirm makes sure that nginx serves what is live.
func (r *round) confirm(ctx context.Context) (lbconfig.Outcome, error) {
	if r.serving == r.live.number {
		return r.unchanged(), nil
	}
	// Killed after swapping, or nginx was started or stopped meanwhile.
	if err := r.test(ctx, r.live.number); err != nil {
		return r.unchanged(), err
	}
	return r.reload(ctx, r.live.number)
}

// reload makes nginx read what current points to, which is generation n, and
// waits until only that accepts connections.
func (r *round) reload(ctx context.Context, n uint64) (lbconfig.Outcome, error) {
	logged := logSize(r.opts.ErrorLog)
	r.step("reloading", n)
	overlap, err := r.process.Reload(ctx)
	if errors.Is(err, ErrNotRunning) {
		return lbconfig.Outcome{Changed: true}, errors.Join(err, syncFile(r.store.root))
	}
	if err != nil {
		return r.unchanged(), errors.Join(err, r.rollBack(n))
	}
	r.step("waiting for an answer", n)
	if err := r.awaitAnswer(ctx, n); err != nil {
		if ctx.Err() != nil {
			// Whatever nginx makes of it, the next call sees.
			return r.unchanged(), err
		}
		err = fmt.Errorf("%w%s", err, logTail(r.opts.ErrorLog, logged))
		err = errors.Join(err, r.rollBack(n))
		_, again := r.process.Reload(ctx)
		return r.unchanged(), errors.Join(err, again)
	}
	r.answered = time.Now()
	done := lbconfig.Outcome{Generation: n, Changed: true}
	r.step("waiting for old workers", n)
	if err := syncFile(r.store.root); err != nil {
		return done, err
	}
	if err := r.awaitSettled(ctx, n, overlap); err != nil {
		return done, err
	}
	r.settled = time.Now()
	r.step("cleaning", n)
	return done, r.store.clean(n)
}

// rollBack points current from generation n to what nginx serves, or, where
// that is not known, to what was live before. Where that is n itself there is
// nothing better.
func (r *round) rollBack(n uint64) error {
	good := r.live.number
	if r.store.has(r.serving) {
		good = r.serving
	}
	if good == n {
		return nil
	}
	r.step("rolling back", good)
	r.log.Warn("nginx did not take a configuration; rolling back", "generation", n, "back_to", good)
	if err := r.store.point(good); err != nil {
		return err
	}
	return errors.Join(syncFile(r.store.root), r.store.clean(good))
}

// awaitAnswer returns when generation n answers for the first time.
func (r *round) awaitAnswer(ctx context.Context, n uint64) error {
	limit := time.Now().Add(r.opts.AnswerWithin)
	for {
		got, err := r.generation(ctx)
		if err == nil && got == n {
			return nil
		}
		if !time.Now().Before(limit) {
			return r.notServed(n, got, err)
		}
		if err := pause(ctx, r.opts.PollEvery); err != nil {
			return err
		}
	}
}

func (r *round) notServed(n, got uint64, err error) error {
	if err != nil {
		return fmt.Errorf("%w: generation %d did not answer within %v: %w", ErrNotServed, n, r.opts.AnswerWithin, err)
	}
	return fmt.Errorf("%w: generation %d did not answer within %v, %d still does", ErrNotServed, n, r.opts.AnswerWithin, got)
}

// inARow is how many answers in a row must come of the new generation at the
// end of the overlap: with as many old workers as new ones, all of them do by
// chance once in 256 times, and then one request may meet an old worker, which
// is no worse than a request that was under way.
const inARow = 8

// awaitSettled returns when old workers have stopped accepting. They are told
// to by the end of the overlap, and heed it within moments, or a few more on a
// busy machine, which the answers in a row are for.
func (r *round) awaitSettled(ctx context.Context, n uint64, overlap time.Duration) error {
	limit := r.answered.Add(r.opts.AnswerWithin)
	// Until then old workers may pass on a request of a client whose connection
	// was idle.
	if err := pause(ctx, max(overlap, r.cfg.KeepIdle)); err != nil {
		return err
	}
	for streak := 0; streak < inARow; {
		got, err := r.generation(ctx)
		streak++
		if err != nil || got != n {
			streak = 0
		}
		if !time.Now().Before(limit) {
			return fmt.Errorf("generation %d answers, but workers of an older one accept connections after %v still", n, r.opts.AnswerWithin)
		}
		if err := pause(ctx, r.opts.PollEvery/3); err != nil {
			return err
		}
	}
	return nil
}

// pause waits, or returns why the context ended.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for nginx: %w", ctx.Err())
	}
}

// logSize is where a log ends now; 0 where that is not known.
func logSize(file string) int64 {
	info, err := os.Stat(file)
	if err != nil {
		return 0
	}
	return info.Size()
}

// logTail is what a log says since it had a size, for an error's text: at most
// the last 2 KiB. What cannot be read is said instead.
func logTail(file string, since int64) string {
	if file == "" {
		return ""
	}
	f, err := os.Open(file)
	if err != nil {
		return fmt.Sprintf(" (nginx's error log: %v)", err)
	}
	defer func() { _ = f.Close() }()
	const most = 2 << 10
	info, err := f.Stat()
	if err != nil {
		return fmt.Sprintf(" (nginx's error log: %v)", err)
	}
	text, err := io.ReadAll(io.NewSectionReader(f, max(since, info.Size()-most), most))
	if err != nil {
		return fmt.Sprintf(" (nginx's error log: %v)", err)
	}
	if len(text) == 0 {
		return fmt.Sprintf("; its log %s says nothing of it", file)
	}
	return fmt.Sprintf("; its log %s says:\n%s", file, strings.TrimSpace(string(text)))
}
