package sample

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/supervisord/supervisord/autoscale"
)

var almost = cmpopts.EquateApprox(0, 1e-9)

func TestUseIsTheDifferenceOfTwoReadingsAgainstTheLimits(t *testing.T) {
	for _, l := range layouts {
		t.Run(l.name, func(t *testing.T) {
			f := newFixture(t, l)
			s, now := f.sampler(Options{})
			f.set(1, counters{cpu: time.Second, periods: 100, throttled: 50, memory: 300 << 20, inactive: 100 << 20, quota: 200_000, limit: 800 << 20})
			if got, ok := one(t, s, *now, target(1)); ok {
				t.Errorf("a sample from one reading: %+v", got)
			}
			*now = now.Add(2 * time.Second)
			f.set(1, counters{cpu: 3 * time.Second, periods: 120, throttled: 65, memory: 300 << 20, inactive: 100 << 20, quota: 200_000, limit: 800 << 20})
			got, _ := one(t, s, start.Add(time.Second), target(1))
			// 2 s of CPU in 2 s are one core, half of the limit of two.
			want := autoscale.Sample{Instance: "web-1.1", At: start.Add(time.Second), CPU: .5, CPUCores: 1, Memory: .25, MemoryBytes: 200 << 20, Throttled: .75}
			if diff := cmp.Diff(want, got, almost); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestLimits(t *testing.T) {
	// The host has 4 cores and 1 GiB; the container uses 1 core and 256 MiB.
	for _, tc := range []struct {
		name         string
		quota, limit int
		cpu, memory  float64
	}{
		{"its own", 50_000, 512 << 20, 2, .5},
		{"none: the host", 0, 0, .25, .25},
		{"beyond the host: the host", 800_000, 8 << 30, .25, .25},
	} {
		for _, l := range layouts {
			t.Run(tc.name+", "+l.name, func(t *testing.T) {
				f := newFixture(t, l)
				s, now := f.sampler(Options{})
				// What it was created with is not in force any more.
				target := target(1)
				target.CPULimit, target.MemoryLimit = 3, 3<<20
				c := counters{memory: 256 << 20, quota: tc.quota, limit: tc.limit}
				f.set(1, c)
				one(t, s, *now, target)
				*now, c.cpu = now.Add(time.Second), time.Second
				f.set(1, c)
				if got, _ := one(t, s, *now, target); got.CPU != tc.cpu || got.Memory != tc.memory {
					t.Errorf("got CPU %v, memory %v, want %v and %v", got.CPU, got.Memory, tc.cpu, tc.memory)
				}
			})
		}
	}
}

func TestALimitThatIsChangedWhileItRunsIsInForceAtOnce(t *testing.T) {
	f := newFixture(t, layouts[0])
	s, now := f.sampler(Options{})
	f.set(1, counters{quota: 100_000})
	one(t, s, *now, target(1))
	*now = now.Add(time.Second)
	f.set(1, counters{cpu: time.Second, quota: 200_000})
	if got, _ := one(t, s, *now, target(1)); got.CPU != .5 {
		t.Errorf("got %v of the limit", got.CPU)
	}
}

func TestCountersThatGoBackBeginAnew(t *testing.T) {
	f := newFixture(t, layouts[4])
	s, now := f.sampler(Options{})
	step := func(c counters) (autoscale.Sample, bool) {
		*now = now.Add(time.Second)
		f.set(1, c)
		return one(t, s, *now, target(1))
	}
	step(counters{cpu: 10 * time.Second, periods: 10})
	step(counters{cpu: 11 * time.Second, periods: 20})
	if got, ok := step(counters{cpu: time.Second}); ok {
		t.Errorf("the CPU time went back: %+v", got)
	}
	if got, ok := step(counters{cpu: 2 * time.Second}); !ok || got.CPUCores != 1 {
		t.Errorf("after it: %+v, %v", got, ok)
	}
}

func TestARestartedContainerIsFoundAgain(t *testing.T) {
	for _, l := range layouts[:5] {
		t.Run(l.name, func(t *testing.T) {
			f := newFixture(t, l)
			s, now := f.sampler(Options{})
			f.set(1, counters{cpu: time.Second})
			one(t, s, *now, target(1))
			again := target(1)
			again.PID = 102
			f.remove(1)
			f.set(1, counters{cpu: 5 * time.Second})
			f.write("proc/102/cgroup", fill(l.cgroup, id(1)))
			*now = now.Add(time.Second)
			if got, ok := one(t, s, *now, again); ok {
				t.Errorf("compared with the life before: %+v", got)
			}
			*now = now.Add(time.Second)
			f.set(1, counters{cpu: 6 * time.Second})
			if got, _ := one(t, s, *now, again); got.CPUCores != 1 {
				t.Errorf("got %+v", got)
			}
		})
	}
}

func TestOneThatCannotBeMeasuredDoesNotKeepTheOthersFromIt(t *testing.T) {
	f := newFixture(t, layouts[1])
	s, now := f.sampler(Options{})
	f.set(1, counters{})
	f.set(3, counters{})
	f.write("proc/104/cgroup", "4:memory:/user.slice\n2:cpuacct:/user.slice\n1:cpu:/user.slice\n")
	f.write("proc/105/cgroup", fill(layouts[1].cgroup, id(5)))
	unknown := target(6)
	unknown.PID = 0
	targets := []Target{target(1), target(2), target(3), target(4), target(5), unknown}
	if got, err := s.Sample(t.Context(), *now, targets); len(got) != 0 || err == nil {
		t.Errorf("got %v, %v", got, err)
	}
	*now = now.Add(time.Second)
	got, err := s.Sample(t.Context(), *now, targets)
	if len(got) != 2 || got[0].Instance != "web-1.1" || got[1].Instance != "web-3.1" {
		t.Errorf("got %+v", got)
	}
	want := map[string]string{
		"web-2.1": "no such file",
		"web-4.1": "is not container",
		"web-5.1": "does not exist",
		"web-6.1": "its process is not known yet",
	}
	var joined interface{ Unwrap() []error }
	if !errors.As(err, &joined) || len(joined.Unwrap()) != len(want) {
		t.Fatalf("got %v", err)
	}
	for _, err := range joined.Unwrap() {
		var te *TargetError
		if !errors.As(err, &te) || !strings.Contains(err.Error(), want[te.Instance]) {
			t.Errorf("got %v", err)
		}
	}
	if !errors.Is(err, os.ErrNotExist) {
		t.Error("the reasons are not wrapped")
	}
}

func TestAFileWithoutItsFigureIsAnErrorAndNotZero(t *testing.T) {
	f := newFixture(t, layouts[4])
	s, now := f.sampler(Options{})
	f.set(1, counters{})
	f.write(filepath.Join("cgroup", fill(layouts[4].dirs[0], id(1)), "memory.stat"), "anon 1\nfoo_inactive_file 3\ninactive_file_x 4\n")
	if _, err := s.Sample(t.Context(), *now, []Target{target(1)}); err == nil || !strings.Contains(err.Error(), `no line "inactive_file"`) {
		t.Errorf("got %v", err)
	}
}

func TestFilesLongerThanTheBufferAreReadWhole(t *testing.T) {
	f := newFixture(t, layouts[4])
	s, now := f.sampler(Options{})
	f.set(1, counters{memory: 100})
	long := strings.Repeat("workingset_refault_anon 12345\n", 500) + "inactive_file 60\n"
	f.write(filepath.Join("cgroup", fill(layouts[4].dirs[0], id(1)), "memory.stat"), long)
	one(t, s, *now, target(1))
	*now = now.Add(time.Second)
	if got, _ := one(t, s, *now, target(1)); got.MemoryBytes != 40 {
		t.Errorf("got %d bytes, want 40", got.MemoryBytes)
	}
}

func TestContainersThatAreNoTargetsAnyMoreAreForgotten(t *testing.T) {
	f := newFixture(t, layouts[0])
	s, now := f.sampler(Options{})
	f.set(1, counters{})
	f.set(2, counters{})
	if _, err := s.Sample(t.Context(), *now, []Target{target(1), target(2)}); err != nil {
		t.Fatal(err)
	}
	*now = now.Add(time.Second)
	one(t, s, *now, target(2))
	if len(s.entries) != 1 || s.entries[id(2)] == nil {
		t.Errorf("kept %v", s.entries)
	}
}

func TestASamplerThatIsClosedOrCancelledSaysSo(t *testing.T) {
	f := newFixture(t, layouts[0])
	s, now := f.sampler(Options{})
	f.set(1, counters{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Sample(ctx, *now, []Target{target(1)}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Sample(t.Context(), *now, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

func TestTheHostIsTheDefaultLimit(t *testing.T) {
	s, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	if s.hostCPUs < 1 || s.hostMemory < 1<<20 {
		t.Errorf("%v cores, %d bytes", s.hostCPUs, s.hostMemory)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
