package rig_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/supervisord/supervisord/cmd/supervisord/internal/demo"
	"github.com/supervisord/supervisord/cmd/supervisord/internal/rig"
	"github.com/supervisord/supervisord/supervisor/state"
)

const four = `    deploy: {replicas: 4, resources: {limits: {cpus: "0.2", memory: 64M}}, update_config: {monitor: 1s, parallelism: 2}}
    x-deploy: {ready_within: 5s}
`

// from asks nginx n times on fresh connections, and counts the answers by
// container.
func (s *site) from(n int) map[string]int {
	s.t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	got := map[string]int{}
	for range n {
		req, err := http.NewRequestWithContext(s.ctx, http.MethodGet, "http://"+s.Public+"/?ms=0", nil)
		if err != nil {
			s.t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			s.t.Fatal(err)
		}
		got[resp.Header.Get("X-Instance")]++
		if err := resp.Body.Close(); err != nil {
			s.t.Fatal(err)
		}
	}
	return got
}

// TestCanaries tries out a release that is well and one that is not, under
// load.
func TestCanaries(t *testing.T) {
	t.Parallel()
	s := start(t, four)
	s.ready(4)
	s.event(state.EventReleaseHealthy, "revision 1")
	_, image := build(t)
	_, end := s.load(demo.LoadOptions{Open: true, Rate: 60, Fresh: 0.5})

	s.deploys(s.file(image, `WORK_MS: "6"`, four), 0, "the canary serves 20 % of the requests", "--canary", "20%")
	all := s.ready(5)
	theirs := 0
	const asked = 500
	got := s.from(asked)
	for _, i := range all {
		if i.Canary {
			theirs += got[i.Container[:12]]
		}
	}
	// The rest of the load moves the turn a little.
	if share := float64(theirs) / asked; share < .16 || share > .24 {
		t.Errorf("the canary answers %.3f of the requests, want 0.2: %v", share, got)
	}
	if out, code := s.command("", "promote"); code != 0 && !strings.Contains(out, "has not been judged") {
		t.Errorf("promoted at once: %d: %s", code, out)
	}
	s.eventually("wait for a verdict", func() string {
		k, err := s.Client.Canary(s.ctx)
		if err != nil || k.Judged {
			return fmt.Sprint(errString(err))
		}
		return fmt.Sprint(k.Verdicts)
	})
	out, _ := s.command("", "canary")
	t.Logf("canary:\n%s", out)
	if out, code := s.command("", "promote"); code != 0 || !strings.Contains(out, "is healthy") {
		t.Fatalf("promote ended with %d: %s", code, out)
	}
	s.serves(4, "WORK_MS=6")

	// One that is taken out by hand.
	s.deploys(s.file(image, `WORK_MS: "7"`, four), 0, "the canary serves", "--canary", "10%")
	if out, code := s.command("", "abort"); code != 0 || !strings.Contains(out, "revision 2 goes on") {
		t.Errorf("abort ended with %d: %s", code, out)
	}
	s.serves(4, "WORK_MS=6")
	// And one that never gets to serve.
	s.deploys(s.file(image, `WORK_MS: "many"`, four), 1, "the canary has failed: backend-", "--canary", "10%")
	s.serves(4, "WORK_MS=6")
	lossless(t, end())

	// Its health is good, and half of what clients get from it is not.
	_, end = s.load(demo.LoadOptions{Open: true, Rate: 60, Fresh: 0.5})
	begin := time.Now()
	s.deploys(s.file(image, `WORK_MS: "6", FAIL: "0.5"`, four), 0, "the canary serves", "--canary", "20%")
	s.event(state.EventCanaryFailed, "requests at the canary went wrong")
	t.Logf("a canary with errors is taken out %s after it was deployed", time.Since(begin).Round(100*time.Millisecond))
	s.serves(4, "WORK_MS=6")
	r := end()
	t.Logf("%d of %d requests went wrong", r.NonOK[500], r.Requests)
	if bad := r.NonOK[500]; bad == 0 || float64(bad) > .2*float64(r.Requests) {
		t.Errorf("%d of %d requests went wrong, half of a fifth were to for a while", bad, r.Requests)
	}
}

func errString(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// TestAnInstanceThatOnlyClientsFindSickIsReplaced: its health check is good.
func TestAnInstanceThatOnlyClientsFindSickIsReplaced(t *testing.T) {
	t.Parallel()
	s := start(t, four)
	before := s.ready(4)
	_, end := s.load(demo.LoadOptions{Open: true, Rate: 60, Fresh: 0.5})
	post(t, s, before[0].Address, "/admin/fail?share=1")
	s.event(state.EventInstanceFailed, "went wrong, 0 of")
	for _, i := range s.ready(4) {
		if i.ID == before[0].ID {
			t.Error("it is still there")
		}
	}
	r := end()
	t.Logf("%d of %d requests went wrong", r.NonOK[500], r.Requests)
}

// TestNewLimitsNeedNoNewContainers changes limits under load.
func TestNewLimitsNeedNoNewContainers(t *testing.T) {
	t.Parallel()
	s := start(t, four)
	before := s.ready(4)
	_, image := build(t)
	_, end := s.load(demo.LoadOptions{Open: true, Rate: 40, Fresh: 0.5})
	s.deploys(s.file(image, `WORK_MS: "5"`, strings.Replace(four, `cpus: "0.2", memory: 64M`, `cpus: "0.3", memory: 96M`, 1)), 0, "revision 2 is healthy")
	for n, i := range s.ready(4) {
		got, err := rig.Docker(s.ctx, "inspect", "-f", "{{.HostConfig.NanoCpus}} {{.HostConfig.Memory}}", i.Name)
		if i.Container != before[n].Container || err != nil || got != "300000000 100663296" {
			t.Errorf("%s has %s (%v), and was replaced: %v", i.Name, got, err, i.Container != before[n].Container)
		}
	}
	lossless(t, end())
}

// TestAFreshInstanceStartsSlowly looks at what nginx is told while one is warm
// and the other is not.
func TestAFreshInstanceStartsSlowly(t *testing.T) {
	t.Parallel()
	keys := `    deploy: {replicas: 1, resources: {limits: {cpus: "0.2", memory: 64M}}}
`
	s := start(t, keys)
	s.ready(1)
	_, image := build(t)
	file := strings.Replace(s.file(image, `WORK_MS: "5"`, keys), "      port: 4000\n", "      port: 4000\n      slow_start: 8s\n      balance: round_robin\n", 1)
	s.deploys(file, 0, "")
	old := s.ready(1)[0]
	_, end := s.load(demo.LoadOptions{Open: true, Rate: 20, Fresh: 0.5})
	time.Sleep(8 * time.Second) // it is warm by then
	if out, code := s.command("", "scale", "backend", "2"); code != 0 {
		t.Fatal(out)
	}
	s.ready(2)
	s.eventually("wait until both are routed", func() string {
		if got := s.from(10); len(got) != 2 {
			return fmt.Sprint(got)
		}
		return ""
	})
	got := s.from(40)
	if theirs := got[old.Container[:12]]; theirs < 24 {
		t.Errorf("the warm one answers %d of 40: %v", theirs, got)
	}
	s.eventually("wait until they share evenly", func() string {
		if got := s.from(40); got[old.Container[:12]] < 24 {
			return ""
		}
		return fmt.Sprint(got)
	})
	lossless(t, end())
}
