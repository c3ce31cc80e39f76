package supervisor

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/supervisord/supervisord/autoscale"
	"github.com/supervisord/supervisord/raftstore"
	"github.com/supervisord/supervisord/supervisor/peer"
	"github.com/supervisord/supervisord/supervisor/plan"
	"github.com/supervisord/supervisord/supervisor/state"
)

// minutes are how far clocks are off in these tests.
var minutes = []time.Duration{-10 * time.Minute, 0, 10 * time.Minute}

// TestAWrongClockShiftsNoSample has a host whose clock is off report.
func TestAWrongClockShiftsNoSample(t *testing.T) {
	for _, off := range minutes {
		t.Run(off.String(), func(t *testing.T) {
			now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
			k := newCollector(func() time.Time { return now })
			there := now.Add(off)
			k.report(peer.Report{Host: "b", At: there, Samples: []autoscale.Sample{{Instance: "web-1.5", At: there.Add(-time.Second)}}})
			if got := k.samples()["web-1.5"].At; !got.Equal(now.Add(-time.Second)) {
				t.Errorf("a sample of a second ago is of %s, it is %s", got, now)
			}
			if got := k.skews()["b"]; got != off {
				t.Errorf("its clock counts as %s ahead, it is %s", got, off)
			}
			c, _ := state.Apply(state.New(), 1, state.Proposal{At: now, Commands: []state.Command{state.RegisterHost{Name: "b", Address: "b"}}})
			if got := k.contacts(c)["b"]; !got.Equal(now) {
				t.Errorf("it was last heard of at %s, want %s", got, now)
			}
			k.recalled("b", peer.Memory{At: there, Frames: map[string][]autoscale.Frame{"web": {{At: there.Add(-time.Minute)}}}})
			if got := k.parts["b"]["web"][0].At; !got.Equal(now.Add(-time.Minute)) {
				t.Errorf("what it remembers of a minute ago is of %s", got)
			}
		})
	}
}

// TestTheClustersTimeGoesOnAtItsPaceUnderAnyLeadersClock has a leader whose
// clock is off hand over to this host.
func TestTheClustersTimeGoesOnAtItsPaceUnderAnyLeadersClock(t *testing.T) {
	for _, off := range minutes {
		t.Run(off.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newReplica()
				stamp := func(at time.Time) {
					t.Helper()
					data, err := state.Encode(state.Proposal{At: at, Commands: []state.Command{state.Found{ID: fmt.Sprint(at.UnixNano())}}})
					if err != nil {
						t.Fatal(err)
					}
					c, _ := r.Current()
					r.Apply(raftstore.Entry{Index: c.Index + 1, Data: data})
				}
				stamp(time.Now().Add(off))
				for last := r.Now(); ; {
					time.Sleep(time.Second)
					now := r.Now()
					if passed := now.Sub(last); passed != time.Second {
						t.Fatalf("%s passed in a second", passed)
					}
					last = now
					stamp(now)
					if c, _ := r.Current(); c.Index > 5 {
						break
					}
				}
				if got := time.Until(r.Now()); got != max(0, off) {
					t.Errorf("the cluster's time is %s ahead of this host's clock, want %s", got, max(0, off))
				}
			})
		})
	}
}

// notes is a log that keeps what it is told.
type notes struct{ cmds []state.Command }

func (n *notes) Propose(_ context.Context, cmds ...state.Command) ([]error, error) {
	n.cmds = append(n.cmds, cmds...)
	return make([]error, len(cmds)), nil
}

// TestAWrongClockIsToldOnceAndAgainWhenItIsRight has a clock that is off one
// way, then the other, then set right.
func TestAWrongClockIsToldOnceAndAgainWhenItIsRight(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	told := &notes{}
	l := &leader{host: "a", report: told, collect: newCollector(func() time.Time { return now }), log: slog.New(slog.DiscardHandler)}
	l.keep(plan.Result{})
	for _, off := range []time.Duration{0, time.Second, 10 * time.Minute, 10 * time.Minute, -10 * time.Minute, time.Second, 0} {
		l.collect.report(peer.Report{Host: "b", At: now.Add(off)})
		l.tellSkew(t.Context())
	}
	var got []string
	for _, cmd := range told.cmds {
		got = append(got, cmd.(state.Note).Event.Message)
	}
	if len(got) != 2 || !strings.Contains(got[0], "10m0s off") || !strings.Contains(got[1], "agrees") {
		t.Errorf("told %q, want once that it is off and once that it agrees again", got)
	}
}

// TestAPlanThatComesToNoRestIsSlowedDown has rounds that always find something
// to do.
func TestAPlanThatComesToNoRestIsSlowedDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b brake
		var at []time.Duration
		begin := time.Now()
		for range 5 * mostRounds {
			if pause, first := b.pause(time.Now()); pause > 0 {
				if first != (len(at) < mostRounds+1) {
					t.Errorf("said again, or not at all, after %d rounds", len(at))
				}
				time.Sleep(pause)
			}
			time.Sleep(time.Millisecond)
			at = append(at, time.Since(begin))
		}
		for n := mostRounds; n < len(at); n++ {
			if at[n]-at[n-mostRounds] < time.Second {
				t.Fatalf("%d rounds within %s", mostRounds+1, at[n]-at[n-mostRounds])
			}
		}
	})
}
