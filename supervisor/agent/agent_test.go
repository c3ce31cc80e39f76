package agent_test

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/supervisord/supervisord/supervisor/agent"
	"github.com/supervisord/supervisord/supervisor/agent/agenttest"
	"github.com/supervisord/supervisord/supervisor/state"
)

// onHost runs a test in a bubble, with the agent of one host at work.
func onHost(t *testing.T, e agenttest.Options, b agenttest.BalancerOptions, test func(*rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, e, b)
		defer r.end()
		r.start()
		test(r)
	})
}

func TestAnAssignedInstanceIsLaunchedCheckedAndRouted(t *testing.T) {
	onHost(t, agenttest.Options{}, agenttest.BalancerOptions{}, func(r *rig) {
		i := r.ready("web", 1)
		if i.Address != "10.0.0.1:4000" || i.Name != "web-1" {
			t.Errorf("it is %s at %s", i.Name, i.Address)
		}
		own := r.engine.Own()
		if len(own) != 1 || own[0].ID != i.Container || own[0].Revision != "w1" {
			t.Errorf("the engine has %+v", own)
		}
		second := r.ready("web", 2)
		if second.Address != "10.0.0.1:4001" || !r.routed(i.Address) {
			t.Errorf("the second is at %s, and the first is routed: %v", second.Address, r.routed(i.Address))
		}
	})
}

func TestAnInstanceIsNotRoutedBeforeItAnswers(t *testing.T) {
	slow := func(agent.Launch) agenttest.Behaviour { return agenttest.Behaviour{AnswersAfter: 20 * time.Second} }
	onHost(t, agenttest.Options{Behave: slow}, agenttest.BalancerOptions{}, func(r *rig) {
		id := r.place("web", 1)
		for range 19 {
			time.Sleep(time.Second)
			if served := r.balance.Served()["web"]; len(served) > 0 {
				t.Fatalf("%v is routed and does not answer", served)
			}
		}
		r.until(3*time.Second, "routed", func() bool { return r.phase(id) == state.Ready && r.routed(r.instance(id).Address) })
	})
}

func TestAnInstanceThatNeverAnswersFails(t *testing.T) {
	never := func(agent.Launch) agenttest.Behaviour { return agenttest.Behaviour{AnswersAfter: time.Hour} }
	onHost(t, agenttest.Options{Behave: never}, agenttest.BalancerOptions{}, func(r *rig) {
		id := r.place("web", 1)
		time.Sleep(59 * time.Second)
		if p := r.phase(id); p != state.Starting {
			t.Fatalf("%s after 59 s, want starting", p)
		}
		r.until(5*time.Second, "failed and cleared", func() bool { return r.phase(id) == "" })
		if f := said[state.Fail](r.state); len(f) != 1 || !strings.HasPrefix(f[0].Reason, "not ready within 1m0s: ") {
			t.Errorf("reported %+v", f)
		}
		if own := r.engine.Own(); len(own) != 0 {
			t.Errorf("left behind: %+v", own)
		}
	})
}

func TestWhatCannotBeAskedIsReadyByItsOwnCheckOrByRunning(t *testing.T) {
	slow := func(agent.Launch) agenttest.Behaviour { return agenttest.Behaviour{AnswersAfter: 5 * time.Second} }
	onHost(t, agenttest.Options{Behave: slow}, agenttest.BalancerOptions{}, func(r *rig) {
		worker, db := r.place("worker", 1), r.place("db", 1)
		r.until(time.Second, "worker ready", func() bool { return r.phase(worker) == state.Ready })
		time.Sleep(3 * time.Second)
		if p := r.phase(db); p != state.Starting {
			t.Errorf("db is %s while its own check does not pass", p)
		}
		r.until(3*time.Second, "db ready", func() bool { return r.phase(db) == state.Ready })
	})
}

func TestATakenPortIsPassedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, agenttest.Options{}, agenttest.BalancerOptions{})
		defer r.end()
		r.engine.TakePort("10.0.0.1:4000", true)
		r.engine.AddForeign("other", "10.0.0.1:4001")
		r.start()
		if i := r.ready("web", 1); i.Address != "10.0.0.1:4002" {
			t.Errorf("it is at %s, want the first port that is free", i.Address)
		}
		if f := said[state.Fail](r.state); len(f) != 0 {
			t.Errorf("a taken port was reported as a failure: %+v", f)
		}
		if own := r.engine.Own(); len(own) != 1 {
			t.Errorf("the attempts left %+v", own)
		}
	})
}

func TestANameOfAStrangerIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, agenttest.Options{}, agenttest.BalancerOptions{})
		defer r.end()
		foreign := r.engine.AddForeign("web-1", "")
		r.start()
		id := r.place("web", 1)
		r.until(5*time.Second, "failed and gone", func() bool { return r.phase(id) == "" })
		f := said[state.Fail](r.state)
		if len(f) != 1 || !f[0].NameTaken {
			t.Errorf("reported %+v, want that the name is taken", f)
		}
		c, _ := r.state.Current()
		if streak, _ := c.Failures.Get("web"); len(streak.TakenSlots) != 1 {
			t.Errorf("the slot is not passed over: %+v", streak)
		}
		if all := r.engine.Containers(); len(all) != 1 || all[0].ID != foreign || !all[0].Running {
			t.Errorf("the stranger's container: %+v", all)
		}
	})
}

func TestAMissingImageIsReported(t *testing.T) {
	onHost(t, agenttest.Options{Images: []string{"worker"}}, agenttest.BalancerOptions{}, func(r *rig) {
		id := r.place("web", 1)
		r.until(5*time.Second, "failed and gone", func() bool { return r.phase(id) == "" })
		if f := said[state.Fail](r.state); len(f) != 1 || !strings.Contains(f[0].Reason, agent.ErrNoImage.Error()) {
			t.Errorf("reported %+v", f)
		}
	})
}

// A kill may come at any moment of a launch. Whatever is there afterwards, the
// next daemon ends with exactly one container, and takes over one that runs.
func TestKilledDuringALaunch(t *testing.T) {
	for after := 5 * time.Millisecond; after < 330*time.Millisecond; after += 5 * time.Millisecond {
		t.Run(after.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, agenttest.Options{}, agenttest.BalancerOptions{})
				defer r.end()
				r.start()
				time.Sleep(50 * time.Millisecond)
				id := r.place("web", 1)
				time.Sleep(after)
				r.stop(agenttest.ErrKilled)
				left := r.engine.Own()
				time.Sleep(time.Minute)
				r.start()
				switch {
				case len(left) == 1 && left[0].Running:
					r.until(5*time.Second, "ready", func() bool { return r.phase(id) == state.Ready })
					if i := r.instance(id); i.Container != left[0].ID {
						t.Errorf("it is %s now, and %s ran", i.Container, left[0].ID)
					}
				default:
					// What was created and never started is made anew.
					r.until(5*time.Second, "ready", func() bool { return r.phase(id) == state.Ready })
				}
				time.Sleep(time.Minute)
				if own, running := r.engine.Own(), r.did(agenttest.Started); len(own) > 1 || len(running) > 1 {
					t.Errorf("it was started %d times; there is %+v", len(running), own)
				}
				if orphans := said[state.Note](r.state); len(orphans) > 1 {
					t.Errorf("removed as unknown: %+v", orphans)
				}
			})
		})
	}
}

func TestADaemonThatStopsOrIsKilledLeavesAllAsItIs(t *testing.T) {
	for name, cause := range map[string]error{"stopped": nil, "killed": agenttest.ErrKilled} {
		t.Run(name, func(t *testing.T) {
			onHost(t, agenttest.Options{}, agenttest.BalancerOptions{}, func(r *rig) {
				r.ready("web", 1)
				r.ready("web", 2)
				r.ready("worker", 1)
				r.ready("db", 1)
				before, served := r.engine.Own(), len(r.balance.Served()["web"])
				deeds, commands := len(r.did(everything...)), len(said[state.Fail](r.state))
				for range 3 {
					r.stop(cause)
					time.Sleep(time.Minute)
					r.start()
					time.Sleep(time.Minute)
				}
				if n := len(r.did(everything...)); n != deeds {
					t.Errorf("done to containers: %+v", r.did(everything...)[deeds:])
				}
				if n := len(said[state.Fail](r.state)); n != commands {
					t.Errorf("reported as failed: %+v", said[state.Fail](r.state))
				}
				if after := r.engine.Own(); len(after) != len(before) || len(r.balance.Served()["web"]) != served {
					t.Errorf("there is %+v, served %v", after, r.balance.Served())
				}
			})
		})
	}
}

var everything = []agenttest.DeedKind{agenttest.Created, agenttest.Started, agenttest.Stopping, agenttest.Ended, agenttest.Removed}

func TestACrashIsReportedTakenOutOfTheRoutesAndCleared(t *testing.T) {
	for _, tc := range []struct {
		name  string
		crash func(*agenttest.Engine, string) bool
		want  string
	}{
		{"exit", func(e *agenttest.Engine, id string) bool { return e.Crash(id, 3) }, "its container ended with exit code 3"},
		{"out of memory", (*agenttest.Engine).OOM, "killed for lack of memory (exit code 137)"},
		{"removed", (*agenttest.Engine).RemoveByHand, "its container ended with exit code 137"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			onHost(t, agenttest.Options{}, agenttest.BalancerOptions{}, func(r *rig) {
				i, other := r.ready("web", 1), r.ready("web", 2)
				if !tc.crash(r.engine, i.Container) {
					t.Fatal("it did not run")
				}
				r.until(150*time.Millisecond, "out of the routes", func() bool { return !r.routed(i.Address) })
				r.until(time.Second, "cleared", func() bool { return r.phase(i.ID) == "" })
				f := said[state.Fail](r.state)
				if len(f) != 1 || f[0].ID != i.ID || !strings.HasPrefix(f[0].Reason, tc.want) && !strings.HasPrefix(f[0].Reason, "its container is gone") {
					t.Errorf("reported %+v, want %q", f, tc.want)
				}
				if own := r.engine.Own(); len(own) != 1 || own[0].ID != other.Container || !r.routed(other.Address) {
					t.Errorf("left: %+v", own)
				}
			})
		})
	}
}

func TestTheLastWordsOfAFailedInstanceAreKept(t *testing.T) {
	onHost(t, agenttest.Options{}, agenttest.BalancerOptions{}, func(r *rig) {
		i := r.ready("web", 1)
		r.engine.Crash(i.Container, 1)
		r.until(time.Second, "cleared", func() bool { return r.phase(i.ID) == "" })
		notes := said[state.Note](r.state)
		if len(notes) != 1 || notes[0].Event.Message != "last log lines of web-1: line 1 of web-1 | line 2 of web-1" {
			t.Errorf("noted %+v", notes)
		}
	})
}

func TestASickInstanceIsReplacedOnlyAfterItsRequestsAreDone(t *testing.T) {
	onHost(t, agenttest.Options{}, agenttest.BalancerOptions{}, func(r *rig) {
		i := r.ready("web", 1)
		r.connect(i.Address, 1)
		r.engine.SetSick(i.Container, true)
		r.until(time.Minute, "known to be sick", func() bool { return r.instance(i.ID).Sick != "" })
		r.state.must(t, state.Fail{ID: i.ID, Reason: r.instance(i.ID).Sick, Sick: true})
		r.until(time.Second, "out of the routes", func() bool { return !r.routed(i.Address) })
		time.Sleep(3 * time.Second)
		if n := len(r.did(agenttest.Stopping)); n != 0 {
			t.Error("stopped while it is at work")
		}
		r.connect(i.Address, 0)
		r.until(time.Second, "cleared", func() bool { return r.phase(i.ID) == "" })
	})
}

func TestAnInstanceThatAnswersAgainIsWell(t *testing.T) {
	onHost(t, agenttest.Options{}, agenttest.BalancerOptions{}, func(r *rig) {
		i := r.ready("web", 1)
		r.engine.SetSick(i.Container, true)
		r.until(time.Minute, "known to be sick", func() bool { return r.instance(i.ID).Sick != "" })
		if !r.routed(i.Address) {
			t.Error("out of the routes before anybody decided")
		}
		r.engine.SetSick(i.Container, false)
		r.until(5*time.Second, "well again", func() bool { return r.instance(i.ID).Sick == "" })
	})
}

func TestWhatClientsGetErrorsFromIsCheckedAtOnce(t *testing.T) {
	onHost(t, agenttest.Options{}, agenttest.BalancerOptions{}, func(r *rig) {
		i := r.ready("web", 1)
		r.engine.SetSick(i.Container, true)
		r.agent.Suspect(i.ID)
		r.agent.Suspect("web-2.99") // one that is not there
		// Three checks in a row, the first of them now.
		r.until(3*time.Second, "known to be sick", func() bool { return r.instance(i.ID).Sick != "" })
	})
}

func TestAPassingFaintIsForgiven(t *testing.T) {
	onHost(t, agenttest.Options{}, agenttest.BalancerOptions{}, func(r *rig) {
		i := r.ready("web", 1)
		// Two checks in a row at the most fall into a faint.
		for range 100 {
			r.engine.SetSick(i.Container, true)
			time.Sleep(1500 * time.Millisecond)
			r.engine.SetSick(i.Container, false)
			time.Sleep(1500 * time.Millisecond)
		}
		if p := r.phase(i.ID); p != state.Ready {
			t.Errorf("it is %s: %s", p, r.instance(i.ID).Reason)
		}
	})
}

func TestABurstOfChangesCostsFewReloads(t *testing.T) {
	onHost(t, agenttest.Options{}, agenttest.BalancerOptions{}, func(r *rig) {
		var ids []string
		for slot := 1; slot <= 12; slot++ {
			ids = append(ids, r.place("web", slot))
		}
		r.until(10*time.Second, "all routed", func() bool { return len(r.balance.Served()["web"]) == len(ids) })
		// One before there was any, one for the first, and two a second.
		if n := len(r.balance.Applied()); n > 2+len(ids)/2 {
			t.Errorf("%d configurations for %d instances", n, len(ids))
		}
	})
}

func TestABrokenEventStreamIsMadeUpFor(t *testing.T) {
	onHost(t, agenttest.Options{}, agenttest.BalancerOptions{}, func(r *rig) {
		i, other := r.ready("web", 1), r.ready("web", 2)
		r.engine.BreakStreams()
		r.engine.Crash(i.Container, 1) // nobody is told
		r.until(4*time.Second, "failed", func() bool { return r.phase(i.ID) != state.Ready })
		r.until(time.Second, "out of the routes", func() bool { return !r.routed(i.Address) })
		r.until(5*time.Second, "cleared", func() bool { return r.phase(i.ID) == "" })
		if p := r.phase(other.ID); p != state.Ready {
			t.Errorf("the other one is %s", p)
		}
	})
}

func TestAnEngineRestartThatSparesContainersChangesNothing(t *testing.T) {
	onHost(t, agenttest.Options{}, agenttest.BalancerOptions{}, func(r *rig) {
		r.ready("web", 1)
		r.ready("db", 1)
		deeds := len(r.did(everything...))
		r.engine.Restart(20*time.Second, true)
		time.Sleep(2 * time.Minute)
		if now := r.did(everything...); len(now) != deeds {
			t.Errorf("done to containers: %+v", now[deeds:])
		}
		if f := said[state.Fail](r.state); len(f) != 0 {
			t.Errorf("reported as failed: %+v", f)
		}
	})
}

func TestAnEngineRestartThatEndsContainersIsSeen(t *testing.T) {
	onHost(t, agenttest.Options{}, agenttest.BalancerOptions{}, func(r *rig) {
		i := r.ready("web", 1)
		r.engine.Restart(3*time.Second, false)
		r.until(20*time.Second, "cleared", func() bool { return r.phase(i.ID) == "" })
		r.ready("web", 1)
	})
}

// A list that fails when a new stream begins is asked for again, or what
// happened in between would stay unknown for long.
func TestAFailedListIsAskedForAgain(t *testing.T) {
	var failing atomic.Bool
	e := agenttest.Options{Fault: func(c agenttest.Call) (f agenttest.Fault) {
		if failing.Load() && c.Method == "list" {
			f.Err = errors.New("500 Internal Server Error")
		}
		return f
	}}
	onHost(t, e, agenttest.BalancerOptions{}, func(r *rig) {
		i := r.ready("web", 1)
		failing.Store(true)
		r.engine.BreakStreams()
		r.engine.Crash(i.Container, 1)
		time.Sleep(3 * time.Second)
		failing.Store(false)
		r.until(3*time.Second, "failed", func() bool { return r.phase(i.ID) != state.Ready })
	})
}

func TestLostEventsAreMadeUpFor(t *testing.T) {
	onHost(t, agenttest.Options{Events: agenttest.EventFaults{Lose: 1}}, agenttest.BalancerOptions{}, func(r *rig) {
		i := r.ready("web", 1)
		r.engine.Crash(i.Container, 1)
		r.until(40*time.Second, "failed", func() bool { return r.phase(i.ID) != state.Ready })
		r.until(time.Second, "cleared", func() bool { return r.phase(i.ID) == "" })
	})
}

func TestWithoutALeaderNothingIsUndoneAndThenAllIsMadeUpFor(t *testing.T) {
	onHost(t, agenttest.Options{}, agenttest.BalancerOptions{}, func(r *rig) {
		i, other := r.ready("web", 1), r.ready("web", 2)
		waiting := r.place("web", 3)
		r.state.lead(false)
		r.engine.Crash(i.Container, 1)
		time.Sleep(30 * time.Second)
		if p := r.phase(i.ID); p != state.Ready {
			t.Fatalf("it is %s, and nothing can be committed", p)
		}
		if n := len(r.did(agenttest.Stopping, agenttest.Removed)); n != 0 {
			t.Errorf("done without a leader: %+v", r.did(agenttest.Stopping, agenttest.Removed))
		}
		if n := len(r.did(agenttest.Started)); n > 3 {
			t.Errorf("%d starts of 3 instances", n)
		}
		r.state.lead(true)
		r.until(5*time.Second, "caught up", func() bool { return r.phase(i.ID) == "" && r.phase(waiting) == state.Ready })
		if p := r.phase(other.ID); p != state.Ready {
			t.Errorf("the other one is %s", p)
		}
	})
}

func TestContainersThatTheStateDoesNotKnowAreRemovedAndStrangersStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, agenttest.Options{}, agenttest.BalancerOptions{})
		defer r.end()
		foreign := r.engine.AddForeign("shop-web-9", "10.0.0.1:4000")
		orphan := r.engine.AddOwn(agent.Launch{Name: "web-7", Instance: "web-7.1", Service: "web"}, "10.0.0.1:4003")
		r.start()
		r.until(5*time.Second, "removed", func() bool { return len(r.engine.Own()) == 0 })
		r.until(time.Second, "noted", func() bool {
			n := said[state.Note](r.state)
			return len(n) == 1 && n[0].Event.Kind == state.EventOrphanRemoved && strings.Contains(n[0].Event.Message, orphan)
		})
		if all := r.engine.Containers(); len(all) != 1 || all[0].ID != foreign || !all[0].Running {
			t.Errorf("left: %+v", all)
		}
	})
}

func TestAContainerThatStopsSlowlyIsKilledAfterItsGrace(t *testing.T) {
	stubborn := func(agent.Launch) agenttest.Behaviour { return agenttest.Behaviour{StopTakes: time.Hour} }
	onHost(t, agenttest.Options{Behave: stubborn}, agenttest.BalancerOptions{}, func(r *rig) {
		i, other := r.ready("web", 1), r.ready("web", 2)
		r.state.must(t, state.Drain{ID: i.ID}, state.Drain{ID: other.ID})
		start := time.Now()
		r.until(15*time.Second, "both gone", func() bool { return r.phase(i.ID) == "" && r.phase(other.ID) == "" })
		if took := time.Since(start); took < 10*time.Second {
			t.Errorf("gone after %s, their grace is 10 s", took)
		}
	})
}
