package nginx

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/supervisord/supervisord/lbconfig"
)

// Options say where things are; zero values mean the defaults.
type Options struct {
	// Root is the directory of generations; /etc/nginx/supervisord.d.
	Root string
	// Conf is nginx's main file, which must include Root/current/*.conf;
	// /etc/nginx/nginx.conf. Its directory must be writable, for a copy that
	// is there while nginx tests it.
	Conf string
	// ErrorLog is nginx's own log, whose end explains a reload that failed;
	// "" for unknown.
	ErrorLog string
	// AnswerWithin is how long a new generation may take to answer; 10 s.
	AnswerWithin time.Duration
	// PollEvery is the pause between two questions for the generation; 3 ms.
	PollEvery time.Duration
}

// Applier puts Configs in force, one at a time.
type Applier struct {
	store   store
	main    mainConf
	process Process
	log     *slog.Logger
	opts    Options
	turn    chan struct{}
	// version is that of the nginx that was last seen to run.
	version version
}

// NewApplier returns an Applier; it touches nothing yet. There must be one per
// Root.
func NewApplier(opts Options, p Process, log *slog.Logger) *Applier {
	opts.Root = cmp.Or(opts.Root, "/etc/nginx/supervisord.d")
	opts.Conf = cmp.Or(opts.Conf, "/etc/nginx/nginx.conf")
	opts.AnswerWithin = cmp.Or(opts.AnswerWithin, 10*time.Second)
	opts.PollEvery = cmp.Or(opts.PollEvery, 3*time.Millisecond)
	return &Applier{
		store:   store{root: opts.Root},
		main:    mainConf{file: opts.Conf, root: opts.Root},
		process: p,
		log:     log,
		opts:    opts,
		turn:    make(chan struct{}, 1),
	}
}

// Apply makes nginx serve the Config and returns when only the new generation
// accepts connections. It looks at what is on disk and at what nginx answers,
// and remembers nothing, so that it may be repeated, and ended at any point by
// its context or by a kill; the next call goes on from there.
//
// Where nginx serves what the Config says already, its number aside, nothing is
// written or reloaded. A site that cannot be rendered, or that nginx refuses,
// keeps its last good file and is in Outcome.Rejected, and the rest goes on.
// An error means that the Config is not confirmed to be in force; Outcome then
// says what was found out before:
//   - *ConfigError, *lbconfig.FieldError or ErrNoInclude: nothing has changed.
//   - ErrNotServed: nginx did not take the reload, the files are rolled back to
//     what it serves.
//   - ErrNotRunning: the files are in place for when nginx is started.
//   - others, the context's too: repeat the call.
//
// Concurrent calls wait for each other, in no certain order; a caller who has
// several Configs should offer only the latest.
func (a *Applier) Apply(ctx context.Context, cfg lbconfig.Config) (lbconfig.Outcome, error) {
	select {
	case a.turn <- struct{}{}:
	case <-ctx.Done():
		return lbconfig.Outcome{}, fmt.Errorf("waiting to configure nginx: %w", ctx.Err())
	}
	defer func() { <-a.turn }()

	start := time.Now()
	r, err := a.begin(ctx, cfg)
	if err != nil {
		return lbconfig.Outcome{}, fmt.Errorf("configuring nginx: %w", err)
	}
	outcome, err := r.run(ctx)
	outcome.Rejected = r.rejected
	outcome.Answered, outcome.Settled = since(start, r.answered), since(start, r.settled)
	if err != nil {
		return outcome, fmt.Errorf("configuring nginx: %w", err)
	}
	if outcome.Changed {
		a.log.Info("nginx serves a new configuration", "generation", outcome.Generation,
			"answered", outcome.Answered, "settled", outcome.Settled, "rejected", len(outcome.Rejected))
	}
	return outcome, nil
}

// since is 0 for what has not happened.
func since(start, end time.Time) time.Duration {
	if end.IsZero() {
		return 0
	}
	return end.Sub(start)
}
