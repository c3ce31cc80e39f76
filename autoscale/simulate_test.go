package autoscale

import (
	"fmt"
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// plant is a service in a loop with Decide: demand is spread evenly over its
// ready instances, which start after a while and burn all of their CPU while
// they warm up.
type plant struct {
	policy Policy
	// demand is in instances' worth, by time since the start.
	demand     func(time.Duration) float64
	startDelay time.Duration
}

// run is what came of it.
type run struct {
	seconds int
	// over are the seconds in which the ready instances were above the upper
	// line, full those in which they could not carry the demand.
	over, full int
	// use sums up the utilisation of each second, count the instances.
	use   float64
	count int
	// changes are the decisions that changed the count.
	changes []Decision
	final   int
}

func (r run) outs() int {
	n := 0
	for _, d := range r.changes {
		if d.To > d.From {
			n++
		}
	}
	return n
}

func (r run) String() string {
	s := float64(r.seconds)
	return fmt.Sprintf("%d out and %d in, %.2f %% of the time above the line, %.2f %% beyond capacity, mean use %.1f %%, mean count %.2f",
		r.outs(), len(r.changes)-r.outs(), 100*float64(r.over)/s, 100*float64(r.full)/s, 100*r.use/s, float64(r.count)/s)
}

// since are the changes from a time on.
func (r run) since(d time.Duration) []Decision {
	for i, c := range r.changes {
		if c.At.Sub(now()) >= d {
			return r.changes[i:]
		}
	}
	return nil
}

func (p plant) run(initial int, length time.Duration) run {
	every := p.policy.WithDefaults().SampleEvery
	warmUp := p.policy.resolved().WarmUp
	var r run
	var frames []Frame
	var lastOut, lastIn time.Time
	readyAt := make([]time.Time, initial)
	for i := range readyAt {
		readyAt[i] = ago(time.Hour)
	}
	for since := time.Duration(0); since < length; since += every {
		at := now().Add(since)
		members, samples := []Member{}, map[string]Sample{}
		for i, ready := range readyAt {
			if !at.Before(ready) {
				members = append(members, Member{ID: fmt.Sprint(i), ReadySince: ready})
			}
		}
		load := p.demand(since) / float64(len(members))
		for _, m := range members {
			s := Sample{Instance: m.ID, At: at, CPU: min(1, load), Throttled: max(0, min(1, load-1))}
			if at.Sub(m.ReadySince) < warmUp {
				s.CPU = 1
			}
			samples[m.ID] = s
		}
		frames = append(frames, Gather(at, p.policy, members, samples))
		frames = frames[max(0, len(frames)-MaxFrames):]
		d := Decide(Input{
			Now: at, Policy: p.policy, Frames: frames,
			Desired: len(readyAt), Ready: len(members), Starting: len(readyAt) - len(members),
			LastOut: lastOut, LastIn: lastIn,
		})
		r.account(load, len(members), p.policy.CPU.Above)
		if d.Changes() {
			r.changes = append(r.changes, d)
		}
		for ; len(readyAt) < d.To; lastOut = at {
			readyAt = append(readyAt, at.Add(p.startDelay))
		}
		if len(readyAt) > d.To {
			readyAt, lastIn = readyAt[:d.To], at
		}
	}
	r.final = len(readyAt)
	return r
}

func (r *run) account(load float64, count int, line float64) {
	r.seconds++
	r.use += min(1, load)
	r.count += count
	if load > line {
		r.over++
	}
	if load > 1 {
		r.full++
	}
}

func constant(demand float64) func(time.Duration) float64 {
	return func(time.Duration) float64 { return demand }
}

func TestConstantDemandSettles(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		demand := rapid.Float64Range(0.01, 20).Draw(t, "demand")
		p := plant{policy: Policy{Min: 1, Max: 100, CPU: genBand(t), SampleEvery: 3 * time.Second}, demand: constant(demand), startDelay: genSeconds(t, 0, 20, "start")}
		// A saturated CPU shows in the measurement as long as it lasts; a line
		// above that can be crossed only by throttling.
		p.policy.CPU.Above = min(p.policy.CPU.Above, 0.9)
		p.policy.CPU.Below = min(p.policy.CPU.Below, p.policy.CPU.Above-0.02)
		initial := rapid.IntRange(1, 30).Draw(t, "instances")
		// From 30 to 1 in steps of a quarter, a minute apart, takes 14 minutes.
		r := p.run(initial, 30*time.Minute)
		if late := r.since(20 * time.Minute); len(late) > 0 {
			t.Fatalf("still changing: %s", late[len(late)-1].Sentence("it"))
		}
		if r.outs() > 0 && len(r.changes) > r.outs() && r.changes[0].To < r.changes[0].From {
			t.Fatalf("shrank first and grew later: %v", r)
		}
		if use := demand / float64(r.final); use > p.policy.CPU.Above && r.final < p.policy.Max {
			t.Fatalf("%f on %d is above %f", use, r.final, p.policy.CPU.Above)
		}
	})
}

func TestAStepOfDemandIsAnsweredInAFewDoublings(t *testing.T) {
	for _, start := range []time.Duration{0, 300 * time.Millisecond, 5 * time.Second, 30 * time.Second} {
		t.Run(start.String(), func(t *testing.T) {
			p := plant{policy: Policy{Min: 1, Max: 100, CPU: band()}, startDelay: start, demand: func(d time.Duration) float64 {
				if d < 5*time.Minute {
					return 0.5
				}
				return 8
			}}
			r := p.run(1, 8*time.Minute)
			// 8 at 50 % are 16: 1, 2, 4, 8, 16.
			if r.final < 12 || r.final > 32 {
				t.Errorf("%d instances for a load of 8 and a target of 50 %%", r.final)
			}
			if len(r.changes) > 5 || r.outs() != len(r.changes) {
				for _, d := range r.changes {
					t.Log(d.Sentence("it"))
				}
				t.Errorf("it took %d changes", len(r.changes))
			}
		})
	}
}

func TestStartUpUseDoesNotFeedItself(t *testing.T) {
	p := plant{policy: Policy{Min: 2, Max: 100, CPU: band()}, startDelay: time.Second, demand: constant(1.5)}
	if r := p.run(2, 10*time.Minute); len(r.changes) != 1 || r.final != 3 {
		t.Errorf("%d instances after %d changes, expected 3 after one", r.final, len(r.changes))
	}
}

func TestAWaveIsFollowedWithoutFlapping(t *testing.T) {
	// From 1 to 9 instances' worth and back, three times in six hours.
	p := plant{policy: Policy{Min: 1, Max: 100, CPU: band()}, startDelay: time.Second, demand: func(d time.Duration) float64 {
		return 5 - 4*math.Cos(2*math.Pi*d.Hours()/2)
	}}
	r := p.run(2, 6*time.Hour)
	t.Log(r)
	if r.full > 0 {
		t.Errorf("%d seconds beyond capacity", r.full)
	}
	if over := float64(r.over) / float64(r.seconds); over > 0.01 {
		t.Errorf("%.1f %% of the time above the line", 100*over)
	}
	turns := 0
	for i := 1; i < len(r.changes); i++ {
		if (r.changes[i].To > r.changes[i].From) != (r.changes[i-1].To > r.changes[i-1].From) {
			turns++
		}
	}
	if turns > 6 {
		t.Errorf("it turned %d times in a wave that turns 6 times", turns)
	}
}

func TestNoiseInsideTheBandChangesNothing(t *testing.T) {
	noise := uint64(1)
	p := plant{policy: Policy{Min: 1, Max: 100, CPU: band()}, demand: func(time.Duration) float64 {
		noise = noise*6364136223846793005 + 1442695040888963407
		return 2 + 0.7*(float64(noise>>11)/(1<<53)*2-1)
	}}
	if r := p.run(4, time.Hour); len(r.changes) > 0 {
		t.Errorf("%d changes at 50 %% ± 18 %%: %s", len(r.changes), r.changes[0].Sentence("it"))
	}
}
