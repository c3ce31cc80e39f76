package rig_test

import (
	"flag"
	"fmt"
	"testing"
	"time"

	"github.com/supervisord/supervisord/cmd/supervisord/internal/demo"
)

var (
	soakScales  = flag.Int("soak.scales", 0, "how many times TestSoak scales out and in, under load")
	soakDeploys = flag.Int("soak.deploys", 0, "how many releases TestSoak deploys, every third a bad one")
	soakRate    = flag.Float64("soak.rate", 100, "requests a second")
)

// TestSoak changes a fleet under load for as long as it is told to: not a
// request may be lost. It is for figures and for rare events:
//
//	go test ./cmd/supervisord/internal/rig -run TestSoak -soak.scales=50 -soak.deploys=20 -v -timeout 30m
func TestSoak(t *testing.T) {
	if *soakScales+*soakDeploys == 0 {
		t.Skip("it is told to do nothing: -soak.scales, -soak.deploys")
	}
	binary, image := build(t)
	s := startWith(t, binary, image, rolling, "1s")
	s.ready(6)
	_, end := s.load(demo.LoadOptions{
		Open: true, Rate: *soakRate, Fresh: 0.5, Duration: 25 * time.Minute,
		Methods: []demo.Method{{Name: "GET", Weight: 3}, {Name: "POST", Weight: 1}},
	})
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
}
