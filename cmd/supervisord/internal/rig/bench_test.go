package rig_test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/supervisord/supervisord/cmd/supervisord/internal/demo"
	"github.com/supervisord/supervisord/cmd/supervisord/internal/rig"
	"github.com/supervisord/supervisord/supervisor/state"
)

// quantiles reports the median and the 90th percentile in milliseconds.
func quantiles(b *testing.B, name string, all []time.Duration) {
	b.Helper()
	if len(all) == 0 {
		b.Fatalf("%s was never measured", name)
	}
	slices.Sort(all)
	at := func(q float64) float64 {
		return float64(all[min(int(q*float64(len(all))), len(all)-1)].Microseconds()) / 1000
	}
	b.ReportMetric(at(0.5), name+"-p50-ms")
	b.ReportMetric(at(0.9), name+"-p90-ms")
}

// plain is a daemon as it is shipped, without the race detector.
func plain(b *testing.B, keys string) *site {
	b.Helper()
	binary, image := build(b)
	return startWith(b, binary, image, keys, "30s")
}

// BenchmarkLoadStep is the time from a step of the load to the first answer of
// a container that was not there, and its stages: until the decision, from
// there until the container is ready, and until it has answered.
func BenchmarkLoadStep(b *testing.B) {
	const runs = 10
	var whole, decided, ready, routed []time.Duration
	for b.Loop() {
		for range runs {
			s := plain(b, scaled)
			s.ready(1)
			load, end := s.load(demo.LoadOptions{Open: true, Rate: 5, Fresh: 1})
			time.Sleep(2 * time.Second) // past the first instance's warm-up
			step := time.Now()
			if err := load.SetRate(70); err != nil {
				b.Fatal(err)
			}
			var first demo.Instance
			s.eventually("wait for a new container's answer", func() string {
				var ok bool
				if first, ok = load.Snapshot().FirstNew(step); !ok {
					return "none yet"
				}
				return ""
			})
			r := end()
			if lost := r.Failed() - r.ResetIdle; lost > 0 {
				b.Errorf("%d requests were lost", lost)
			}
			at := s.times()
			whole = append(whole, first.First.Sub(step))
			decided = append(decided, at[state.EventScaledOut].Sub(step))
			ready = append(ready, at[state.EventInstanceReady].Sub(at[state.EventScaledOut]))
			routed = append(routed, first.First.Sub(at[state.EventInstanceReady]))
			s.close()
		}
	}
	quantiles(b, "step-to-serving", whole)
	quantiles(b, "step-to-decision", decided)
	quantiles(b, "decision-to-ready", ready)
	quantiles(b, "ready-to-answer", routed)
	both := make([]time.Duration, len(whole))
	for n := range whole {
		both[n] = ready[n] + routed[n]
	}
	quantiles(b, "decision-to-serving", both)
}

// times is when the count was first raised, and when the first instance after
// that became ready.
func (s *site) times() map[state.EventKind]time.Time {
	s.t.Helper()
	all, err := s.Client.EventsAfter(s.ctx, 0, 1000)
	if err != nil {
		s.t.Fatal(err)
	}
	at := map[state.EventKind]time.Time{}
	for _, e := range all.Events {
		_, seen := at[e.Kind]
		_, out := at[state.EventScaledOut]
		if !seen && (e.Kind == state.EventScaledOut || out && e.Kind == state.EventInstanceReady) {
			at[e.Kind] = e.At
		}
	}
	return at
}

// BenchmarkKilled is the time from the kill of a container to the moment when
// nginx' configuration is without it.
func BenchmarkKilled(b *testing.B) {
	const victims = 10
	s := plain(b, fixed(victims+2))
	all := s.ready(victims + 2)
	s.answers()
	var out []time.Duration
	for b.Loop() {
		for _, victim := range all[:victims] {
			before := s.quiet()
			// The command returns long after the container has died.
			killed := make(chan error, 1)
			go func() {
				_, err := rig.Docker(s.ctx, "kill", victim.Name)
				killed <- err
			}()
			for s.generation() == before {
				time.Sleep(time.Millisecond)
			}
			gone := time.Now()
			if err := <-killed; err != nil {
				b.Fatal(err)
			}
			out = append(out, gone.Sub(s.died(victim.Container)))
		}
	}
	quantiles(b, "kill-to-out-of-rotation", out)
}

// quiet waits until nginx' generation has stood for a while and returns it.
func (s *site) quiet() string {
	s.t.Helper()
	const long = 1500 * time.Millisecond
	g := s.generation()
	for since := time.Now(); time.Since(since) < long; time.Sleep(50 * time.Millisecond) {
		if now := s.generation(); now != g {
			g, since = now, time.Now()
		}
	}
	return g
}

// died is when the engine saw a container end.
func (s *site) died(container string) time.Time {
	s.t.Helper()
	now := time.Now()
	at := func(t time.Time) string { return fmt.Sprintf("%.3f", float64(t.UnixMilli())/1000) }
	text, err := rig.Docker(s.ctx, "events", "--since", at(now.Add(-10*time.Second)), "--until", at(now), "--filter", "event=die", "--filter", "container="+container, "--format", "{{.TimeNano}}")
	if err != nil {
		s.t.Fatal(err)
	}
	var nanos int64
	if _, err := fmt.Sscan(text, &nanos); err != nil {
		s.t.Fatalf("when did it die: %q: %v", text, err)
	}
	return time.Unix(0, nanos)
}

// generation is what nginx answers with.
func (s *site) generation() string {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.ctx, http.MethodGet, "http://"+s.Status+"/generation", nil)
	if err != nil {
		s.t.Fatal(err)
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	var g string
	if _, err := fmt.Fscan(resp.Body, &g); err != nil {
		s.t.Fatal(err)
	}
	return g
}

// BenchmarkFortyContainers is what the daemon itself uses while it samples 40
// idle containers each second.
func BenchmarkFortyContainers(b *testing.B) {
	const n, span = 40, 60 * time.Second
	s := plain(b, fmt.Sprintf(`    deploy: {replicas: %d, resources: {limits: {cpus: "0.5", memory: 64M}}}
    x-autoscale: {min: %d, max: %d, cpu: {scale_out_above: 70%%, scale_in_below: 30%%}}`, n, n, n))
	s.ready(n)
	time.Sleep(10 * time.Second)
	var share []float64
	for b.Loop() {
		before, err := s.Use()
		if err != nil {
			b.Fatal(err)
		}
		time.Sleep(span)
		after, err := s.Use()
		if err != nil {
			b.Fatal(err)
		}
		share = append(share, float64(after.CPU-before.CPU)/float64(span))
		b.ReportMetric(float64(after.RSS)/(1<<20), "rss-MiB")
	}
	slices.Sort(share)
	b.ReportMetric(100*share[len(share)/2], "%-of-a-core")
}

// close ends a site before its benchmark ends.
func (s *site) close() {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := s.Close(ctx); err != nil {
		s.t.Error(err)
	}
}
