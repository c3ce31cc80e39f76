package rig_test

import (
	"flag"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/supervisord/supervisord/cmd/supervisord/internal/demo"
	"github.com/supervisord/supervisord/cmd/supervisord/internal/rig"
	"github.com/supervisord/supervisord/supervisor/api"
	"github.com/supervisord/supervisord/supervisor/state"
)

var (
	soakScales  = flag.Int("soak.scales", 0, "how many times TestSoak scales out and in, under load")
	soakDeploys = flag.Int("soak.deploys", 0, "how many releases TestSoak deploys, every third a bad one")
	soakKills   = flag.Int("soak.kills", 0, "how many instances TestSoak kills, under a load of their own")
	soakRate    = flag.Float64("soak.rate", 100, "requests a second")
)

// TestSoak changes a fleet under load for as long as it is told to: not a
// request may be lost, but those in flight in a container that is killed. It is
// for figures and for rare events:
//
//	go test ./cmd/supervisord/internal/rig -run TestSoak -soak.scales=50 -soak.deploys=20 -soak.kills=10 -v -timeout 30m
func TestSoak(t *testing.T) {
	if *soakScales+*soakDeploys+*soakKills == 0 {
		t.Skip("it is told to do nothing: -soak.scales, -soak.deploys, -soak.kills")
	}
	binary, image := build(t)
	s := startWith(t, binary, image, rolling, "1s")
	s.ready(6)
	load := demo.LoadOptions{
		Open: true, Rate: *soakRate, Fresh: 0.5, Duration: 25 * time.Minute,
		Methods: []demo.Method{{Name: "GET", Weight: 3}, {Name: "POST", Weight: 1}},
	}
	_, end := s.load(load)
	begin := time.Now()
	for n := range *soakScales {
		want := 9 - 3*(n%2)
		if out, code := s.command("", "scale", "backend", fmt.Sprint(want)); code != 0 {
			t.Fatal(out)
		}
		s.ready(want)
	}
	t.Logf("%d scale-outs and scale-ins by 3 took %s", *soakScales, time.Since(begin).Round(time.Second))
	begin = time.Now()
	var took []time.Duration
	for n := range *soakDeploys {
		work, want := fmt.Sprint(4+n%3), 0
		if n%3 == 2 {
			work, want = "many", 1
		}
		at := time.Now()
		out, code := s.command(s.file(image, fmt.Sprintf("WORK_MS: %q, RELEASE: %q", work, fmt.Sprint(n)), rolling), "deploy", "-f", "-")
		if code != want {
			t.Fatalf("release %d ended with %d, want %d: %s", n, code, want, out)
		}
		if want == 0 {
			took = append(took, time.Since(at).Round(10*time.Millisecond))
		}
	}
	t.Logf("%d releases took %s, the good ones %v each", *soakDeploys, time.Since(begin).Round(time.Second), took)
	lossless(t, end())
	if *soakKills > 0 {
		s.kills(t, load)
	}
}

// noLoop is how long an instance must have served for its end to be no part of a
// crash loop, which is given pauses.
const noLoop = 61 * time.Second

// kill kills an instance and waits until the daemon knows.
func (s *site) kill(victim api.Instance) {
	s.t.Helper()
	if _, err := rig.Docker(s.ctx, "kill", victim.Container); err != nil {
		s.t.Fatal(err)
	}
	s.eventually("wait until it is noticed", func() string {
		for _, i := range s.instances() {
			if i.ID == victim.ID && i.Phase == state.Ready {
				return "it is ready still"
			}
		}
		return ""
	})
}

// kills kills one instance after the other, always the one that has served the
// longest. A request that is in flight in it is lost, unless it may be repeated;
// what comes until nginx knows is tried at another one.
func (s *site) kills(t *testing.T, load demo.LoadOptions) {
	_, end := s.load(load)
	for range *soakKills {
		victim := slices.MinFunc(s.ready(6), func(a, b api.Instance) int { return a.PhaseAt.Compare(b.PhaseAt) })
		time.Sleep(time.Until(victim.PhaseAt.Add(noLoop)))
		s.kill(victim)
	}
	s.ready(6)
	r := end()
	lost := int64(0)
	for _, n := range r.NonOK {
		lost += n
	}
	lost += r.FailedFresh + r.Timeouts + r.Broken
	t.Logf("%d kills cost %d of %d requests (other than 2xx %v, failed fresh %d, broken %d, timeouts %d), %d idle resets",
		*soakKills, lost, r.Requests, r.NonOK, r.FailedFresh, r.Broken, r.Timeouts, r.ResetIdle)
	// A sixth of the load meets the instance; a request takes some 10 ms.
	if most := int64(*soakKills) * max(2, int64(*soakRate/6*.05)); lost > most {
		t.Errorf("%d were lost, want %d at the most: those in flight", lost, most)
	}
}
