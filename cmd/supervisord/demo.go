package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/supervisord/supervisord/cmd/supervisord/internal/demo"
	"github.com/supervisord/supervisord/cmd/supervisord/internal/rig"
	"github.com/supervisord/supervisord/supervisor/state"
)

// The demo's load, in requests per second of 5 ms of CPU each: one backend of
// a quarter of a core is full at 50.
const (
	demoLow  = 10
	demoHigh = 90
)

// demoCompose scales in sooner than anybody would in production, because
// somebody is waiting.
const demoCompose = `services:
  backend:
    image: %s
    environment: {WORK_MS: "5"}
    deploy: {replicas: 2, resources: {limits: {cpus: "0.25", memory: 64M}}}
    x-autoscale:
      min: 2
      max: 6
      cpu: {scale_out_above: 70%%, scale_in_below: 30%%}
      sample_every: 250ms
      warm_up: 2s
      scale_in: {window: 4s, stabilization: 6s, cooldown: 3s, max_step: 50%%}
    x-ingress:
      hosts: [_]
      port: 4000
      health: {path: /admin/monitoring/health, every: 5s}
`

// errDemo ends a demo that did not show what it is for.
var errDemo = errors.New("the demo did not show what it is for; see the summary")

func newDemo(e env) *cobra.Command {
	var source string
	c := &cobra.Command{
		Use:   "demo",
		Short: "Show scaling for real: load, scale-out, scale-in, behind nginx",
		Long: `demo builds a small backend that burns CPU, starts an nginx of its own and this
daemon as a one-host cluster in a directory of its own, puts load on it through
nginx, lets the load rise and fall, and ends by itself with a summary. It needs
a checkout of supervisord, Go, nginx and a Docker engine; make demo installs
what is missing. It removes what it made.`,
		Args: want(),
		RunE: func(cmd *cobra.Command, _ []string) error { return runDemo(cmd.Context(), e, source) },
	}
	c.Flags().StringVar(&source, "source", ".", "directory of the checkout")
	return c
}

func runDemo(ctx context.Context, e env, source string) (err error) {
	undo := func(what string, f func(context.Context) error) {
		// An interrupt ends the show, not the cleaning up.
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		if failed := f(end); failed != nil {
			err = errors.Join(err, fmt.Errorf("clean up the %s: %w", what, failed))
		}
	}
	fmt.Fprintln(e.out, "building the demo's backend")
	image := demo.Image{Source: source, Environ: e.vars}
	name, err := image.Build(ctx)
	if err != nil {
		return err
	}
	defer undo("image", func(ctx context.Context) error { return image.Remove(ctx, name) })
	binary, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	log, err := os.CreateTemp("", "supervisord-demo-*.log")
	if err != nil {
		return fmt.Errorf("make a log for the daemon: %w", err)
	}
	defer func() {
		err = errors.Join(err, log.Close())
		if err != nil {
			fmt.Fprintln(e.err, "the daemon's log is in", log.Name())
			return
		}
		err = os.Remove(log.Name())
	}()
	r, err := rig.New(ctx, binary, log)
	if err != nil {
		return err
	}
	defer undo("installation", r.Close)
	return play(ctx, e, r, name)
}

// play starts the daemon, shows the load rise and fall, and sums up.
func play(ctx context.Context, e env, r *rig.Rig, image string) error {
	if err := r.WriteCompose(fmt.Sprintf(demoCompose+demoSecure, image, image)); err != nil {
		return err
	}
	fmt.Fprintf(e.out, "starting the daemon: nginx on http://%s, API and page on http://%s\n", r.Public, r.API)
	if err := r.Start(ctx); err != nil {
		return err
	}
	if err := serving(ctx, "http://"+r.Public+"/"); err != nil {
		return err
	}
	if err := showTLS(ctx, e.out, r); err != nil {
		return err
	}
	load, err := demo.NewLoad(demo.LoadOptions{
		URL: "http://" + r.Public + "/", Open: true, Rate: demoLow, Fresh: 0.5,
		Methods: []demo.Method{{Name: "GET", Weight: 4}, {Name: "POST", Weight: 1}},
	})
	if err != nil {
		return err
	}
	s := newShow(r, load, demo.NewScreen(e.out, screenOptions(e.out)))
	summary, err := s.run(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintf(e.out, "\n%s\n", strings.Join(summary.Render(), "\n"))
	if !summary.Good() {
		return errDemo
	}
	return nil
}

func screenOptions(w io.Writer) demo.ScreenOptions {
	if f, ok := w.(*os.File); ok {
		return demo.ScreenOf(f)
	}
	return demo.ScreenOptions{}
}

// serving waits for the first answer through nginx.
func serving(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	last := errors.New("not asked yet")
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			err = resp.Body.Close()
			if err == nil && resp.StatusCode == http.StatusOK {
				return nil
			}
			err = errors.Join(err, errors.New(resp.Status))
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the first answer: %w (last: %w)", ctx.Err(), last)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// show is a demo on its way.
type show struct {
	rig    *rig.Rig
	load   *demo.Load
	screen *demo.Screen
	start  time.Time
	view   demo.View
	sum    demo.Summary
	// raised is when the count was first raised, grown when the first instance
	// after that was ready, seq the last event seen.
	raised, grown time.Time
	seq           uint64
}

func newShow(r *rig.Rig, l *demo.Load, s *demo.Screen) *show {
	return &show{rig: r, load: l, screen: s, view: demo.View{Above: 0.7, Below: 0.3}}
}

// run plays the acts and returns what they came to.
func (s *show) run(ctx context.Context) (sum demo.Summary, err error) {
	s.start = time.Now()
	loading, stop := context.WithCancel(ctx)
	defer stop()
	done := make(chan demo.Report, 1)
	go func() { done <- s.load.Run(loading) }()
	err = s.acts(ctx)
	stop()
	s.sum.Load = <-done
	s.sum.Took = time.Since(s.start)
	return s.sum, errors.Join(err, s.screen.Close())
}

const (
	calm    = 5 * time.Second
	plateau = 12 * time.Second
	// longest bounds each act: what has not happened by then is reported as
	// not having happened.
	longest = 45 * time.Second
)

func (s *show) acts(ctx context.Context) error {
	s.view.Phase, s.view.Rate = "a little load", demoLow
	if err := s.until(ctx, time.Now().Add(calm), func() bool { return false }); err != nil {
		return err
	}
	s.sum.First, s.sum.Before, s.sum.After = s.view.Ready, demoLow, demoHigh

	s.view.Phase, s.view.Rate = "the load rises", demoHigh
	step := time.Now()
	if err := s.load.SetRate(demoHigh); err != nil {
		return err
	}
	grown := func() bool {
		return s.view.Ready > s.sum.First && s.view.Ready == s.view.Desired && time.Since(step) >= plateau
	}
	if err := s.until(ctx, step.Add(longest), grown); err != nil {
		return err
	}
	if !s.raised.IsZero() {
		s.sum.ToDecision = s.raised.Sub(step)
	}
	if !s.grown.IsZero() {
		s.sum.ToReady = s.grown.Sub(step)
	}
	if first, ok := s.load.Snapshot().FirstNew(step); ok {
		s.sum.ToServing = first.First.Sub(step)
	}

	s.view.Phase, s.view.Rate = "the load falls", demoLow
	fall := time.Now()
	if err := s.load.SetRate(demoLow); err != nil {
		return err
	}
	shrunk := func() bool { return s.view.Ready == s.sum.First && s.view.Draining == 0 }
	if err := s.until(ctx, fall.Add(longest), shrunk); err != nil {
		return err
	}
	if shrunk() {
		s.sum.ToFloor = time.Since(fall)
	}
	s.sum.Last = s.view.Ready
	return nil
}

// until shows the view twice a second until done says so, or the end.
func (s *show) until(ctx context.Context, end time.Time, done func() bool) error {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for time.Now().Before(end) {
		if err := s.look(ctx); err != nil {
			return err
		}
		if err := s.screen.Show(s.view); err != nil {
			return err
		}
		if done() {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
	return nil
}

// look asks the daemon and the load how things are.
func (s *show) look(ctx context.Context) error {
	service, err := s.rig.Client.Service(ctx, "backend")
	if err != nil {
		return err
	}
	news, err := s.rig.Client.EventsAfter(ctx, s.seq, 100)
	if err != nil {
		return err
	}
	for _, e := range news.Events {
		s.seq = e.Seq
		if e.Kind == state.EventScaledOut && s.raised.IsZero() {
			s.raised = e.At
		}
		if e.Kind == state.EventInstanceReady && !s.raised.IsZero() && s.grown.IsZero() {
			s.grown = e.At
		}
		s.view.Events = append(s.view.Events, demo.Event{Seq: e.Seq, At: max(e.At.Sub(s.start), 0), Text: e.Message})
	}
	r := s.load.Snapshot()
	v := &s.view
	v.Elapsed = time.Since(s.start)
	v.Failed, v.Resets = r.Failed()-r.ResetIdle, r.ResetIdle
	v.P50, v.P99 = r.Latency.P50, r.Latency.P99
	v.Answered = lastSecond(r)
	v.CPU, v.Decision, v.Desired = service.CPU, service.Sentence, service.Desired
	v.Min, v.Max = service.Min, service.Max
	v.Ready, v.Draining = service.Phases.Ready, service.Phases.Draining
	v.Starting = service.Phases.Assigned + service.Phases.Starting
	v.Answers = append(v.Answers, v.Answered)
	v.Replicas = append(v.Replicas, float64(v.Ready))
	if v.CPU != nil {
		v.CPUs = append(v.CPUs, *v.CPU)
	}
	s.sum.Peak = max(s.sum.Peak, v.Ready)
	return nil
}

// lastSecond is how many answers the last whole second brought.
func lastSecond(r demo.Report) float64 {
	whole := int(r.At.Sub(r.Start) / time.Second)
	if whole < 1 || whole > len(r.Seconds) {
		return 0
	}
	return float64(r.Seconds[whole-1].OK)
}
