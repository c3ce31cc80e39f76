package demo

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got; -update rewrites it)\n%s", file, diff)
	}
}

func busy() View {
	cpu := 0.914
	return View{
		Elapsed: 83*time.Second + 460*time.Millisecond,
		Phase:   "the load has risen from 40 to 240 requests per second",
		Rate:    240, Answered: 231.4, Failed: 0, Resets: 2,
		P50: 8400 * time.Microsecond, P99: 412 * time.Millisecond,
		CPU: &cpu, Below: 0.3, Above: 0.7,
		Desired: 4, Ready: 2, Starting: 2, Draining: 0, Min: 1, Max: 6,
		Decision: "backend goes from 2 to 4: cpu at 97 % is saturated (its limit hides demand); ceil(2 × 0.97 / 0.50) = 4",
		Events: []Event{
			{1, 61 * time.Second, "the load rises to 240 requests per second"},
			{2, 61*time.Second + 312*time.Millisecond, "backend goes from 2 to 4: cpu at 97 % is saturated (its limit hides demand); ceil(2 × 0.97 / 0.50) = 4"},
			{3, 61*time.Second + 790*time.Millisecond, "backend-3 is ready 441ms after it was placed"},
		},
		Answers:  []float64{40, 41, 40, 80, 160, 200, 231, 240},
		CPUs:     []float64{0.41, 0.4, 0.42, 0.97, 0.97, 0.95, 0.914},
		Replicas: []float64{1, 1, 1, 1, 2, 2},
	}
}

func TestRenderedViews(t *testing.T) {
	long := busy()
	for n := range 20 {
		long.Events = append(long.Events, Event{Seq: uint64(4 + n), At: 90 * time.Second, Text: fmt.Sprintf("event %d", n)})
	}
	long.Decision = strings.Repeat("a long decision ", 30)
	foul := busy()
	foul.Decision, foul.Phase = "two\nlines", "\x1b[2Jclears"
	foul.Events[0].Text = "a\tb\r\n\x1b]0;title\a"
	for _, tc := range []struct {
		name          string
		view          View
		width, height int
	}{
		{"wide", busy(), 132, 40},
		{"usual", busy(), 80, 24},
		{"narrow", busy(), 40, 24},
		{"full", long, 80, 14},
		{"tiny", busy(), 10, 3},
		{"start", View{Phase: "starting"}, 80, 24},
		{"foul", foul, 80, 24},
	} {
		t.Run(tc.name, func(t *testing.T) {
			golden(t, "view-"+tc.name+".txt", strings.Join(tc.view.Render(tc.width, tc.height), "\n")+"\n")
		})
	}
	golden(t, "lines.txt", busy().Line()+"\n"+View{}.Line()+"\n")
}

// Whatever is shown stays inside of its lines, and is no command.
func TestAViewFitsItsTerminal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := View{
			Elapsed:  time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "elapsed")),
			Phase:    rapid.String().Draw(t, "phase"),
			Decision: rapid.String().Draw(t, "decision"),
			Answers:  rapid.SliceOf(rapid.Float64Range(0, 1e6)).Draw(t, "answers"),
			CPUs:     rapid.SliceOf(rapid.Float64Range(0, 3)).Draw(t, "cpus"),
		}
		for n, text := range rapid.SliceOf(rapid.String()).Draw(t, "events") {
			v.Events = append(v.Events, Event{Seq: uint64(n + 1), Text: text})
		}
		width, height := rapid.IntRange(0, 200).Draw(t, "width"), rapid.IntRange(-1, 50).Draw(t, "height")
		lines := v.Render(width, height)
		if len(lines) > max(height, 0) {
			t.Fatalf("%d lines in %d rows", len(lines), height)
		}
		for _, l := range lines {
			if n := len([]rune(l)); n > max(width, minWidth) {
				t.Fatalf("%d columns of %d: %q", n, width, l)
			}
			if strings.ContainsFunc(l, func(r rune) bool { return r < ' ' || r == 0x7f }) {
				t.Fatalf("a control character: %q", l)
			}
		}
	})
}

func TestATerminalIsRedrawnInPlace(t *testing.T) {
	var out bytes.Buffer
	height := 24
	s := NewScreen(&out, ScreenOptions{Terminal: true, Size: func() (int, int) { return 80, height }})
	if err := s.Close(); err != nil || out.Len() > 0 {
		t.Fatalf("nothing was drawn, but closing wrote %q, %v", &out, err)
	}
	show := func(v View) string {
		t.Helper()
		out.Reset()
		if err := s.Show(v); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	first := show(busy())
	if n := strings.Count(first, "\n"); strings.Contains(first, "A\r") || n != 11 {
		t.Errorf("the first drawing moves up or has %d lines: %q", n, first)
	}
	if second := show(View{}); !strings.HasPrefix(second, hideCursor+"\x1b[11A\r") || !strings.HasSuffix(second, clearBelow) {
		t.Errorf("the second drawing does not replace eleven lines: %q", second)
	}
	show(busy())
	height = 5
	if small := show(busy()); !strings.HasPrefix(small, hideCursor+"\x1b[4A\r") || strings.Count(small, "\n") != 4 {
		t.Errorf("in a terminal that has shrunk to 5 rows: %q", small)
	}
	out.Reset()
	if err := s.Close(); err != nil || out.String() != showCursor {
		t.Errorf("closing wrote %q, %v", &out, err)
	}
}

func TestALogGetsEventsAtOnceAndFiguresNowAndThen(t *testing.T) {
	var out bytes.Buffer
	s := NewScreen(&out, ScreenOptions{Every: 2 * time.Second})
	v := busy()
	all := v.Events
	for n, at := range []time.Duration{0, time.Second, 2 * time.Second, 2500 * time.Millisecond, 5 * time.Second} {
		v.Elapsed, v.Events = at, all[:min(n, len(all))]
		if err := s.Show(v); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	golden(t, "log.txt", out.String())
}

type full struct{}

var errFull = errors.New("no space left")

func (full) Write([]byte) (int, error) { return 0, errFull }

func TestAScreenThatCannotBeWrittenSaysSo(t *testing.T) {
	for _, terminal := range []bool{false, true} {
		s := NewScreen(full{}, ScreenOptions{Terminal: terminal, Size: func() (int, int) { return 80, 24 }})
		if err := s.Show(busy()); !errors.Is(err, errFull) {
			t.Errorf("terminal %t: %v", terminal, err)
		}
	}
}

func TestAFileIsNoTerminal(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	o := ScreenOf(f)
	if width, height := o.Size(); o.Terminal || width != 80 || height != 24 {
		t.Errorf("terminal %t of %d × %d", o.Terminal, width, height)
	}
}

func TestSummaries(t *testing.T) {
	good := Summary{
		Took: 62*time.Second + 340*time.Millisecond,
		Load: Report{
			Requests: 8414, OK: 8412, ResetIdle: 2, NonOK: map[int]int64{},
			Latency:   Quantiles{P50: 7400 * time.Microsecond, P99: 62 * time.Millisecond, Max: 1320 * time.Millisecond},
			Instances: make([]Instance, 4),
		},
		Before: 40, After: 240, ToDecision: 312 * time.Millisecond, ToReady: 753 * time.Millisecond, ToServing: 790 * time.Millisecond,
		ToFloor: 13200 * time.Millisecond, First: 1, Peak: 4, Last: 1,
	}
	bad := Summary{
		Took: time.Minute,
		Load: Report{
			Requests: 1_234_567, OK: 1_234_500, NonOK: map[int]int64{503: 1, 502: 40}, FailedFresh: 5, ResetIdle: 6, Timeouts: 7, Broken: 8, Shed: 9,
			Latency: Quantiles{P50: time.Millisecond, P99: time.Second, Max: 9 * time.Second},
		},
		Before: 40, After: 240, First: 1, Peak: 1, Last: 1,
	}
	golden(t, "summary-good.txt", strings.Join(good.Render(), "\n")+"\n")
	golden(t, "summary-bad.txt", strings.Join(bad.Render(), "\n")+"\n")
	if good.Lost() != 0 || bad.Lost() != 61 {
		t.Errorf("lost %d and %d, want 0 and 61", good.Lost(), bad.Lost())
	}
	for name, spoil := range map[string]func(*Summary){
		"a lost request":   func(s *Summary) { s.Load.Requests++ },
		"no request":       func(s *Summary) { s.Load.Requests, s.Load.OK = 2, 0 },
		"no new container": func(s *Summary) { s.ToServing = 0 },
		"no scale-out":     func(s *Summary) { s.Peak = 1 },
		"no scale-in":      func(s *Summary) { s.ToFloor = 0 },
	} {
		s := good
		if spoil(&s); s.Good() {
			t.Errorf("good with %s", name)
		}
	}
	if !good.Good() {
		t.Error("not good")
	}
}
