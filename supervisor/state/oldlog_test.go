package state_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/supervisord/supervisord/supervisor/state"
)

var writeOldLog = flag.Bool("write-old-log", false, "write the log of this version's format, which must never change again")

// TestOldLogsGiveTheStateTheyGave replays logs as earlier versions wrote them.
// What they gave then is in a file beside each: a command may be added, and may
// get another field, but what was committed once means the same for ever, or
// hosts of two versions would differ. None is ever edited: what comes new gets
// another log.
func TestOldLogsGiveTheStateTheyGave(t *testing.T) {
	if *writeOldLog {
		keepOldLog(t, filepath.Join("testdata", "v1-canaries"))
	}
	logs, err := filepath.Glob("testdata/v*.log")
	if err != nil || len(logs) == 0 {
		t.Fatalf("logs %v: %v", logs, err)
	}
	for _, path := range logs {
		t.Run(filepath.Base(path), func(t *testing.T) {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			c, index := state.New(), uint64(0)
			for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
				p, err := state.Decode(lines.Bytes())
				if err != nil {
					t.Fatal(err)
				}
				index++
				c, _ = state.Apply(c, index, p)
			}
			before := path[:len(path)-len(".log")] + ".state.json"
			want, err := os.ReadFile(before)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(indented(t, want), indented(t, bytesOf(t, c))); diff != "" {
				t.Errorf("the state is another one than it was (-was +is):\n%s", diff)
			}
			restored, err := state.Read(bytes.NewReader(want))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(indented(t, want), indented(t, bytesOf(t, restored))); diff != "" {
				t.Errorf("a snapshot of then is read as another state (-was +is):\n%s", diff)
			}
		})
	}
}

// TestTheOldLogsHaveEveryCommand: a command that is in no log could change
// unnoticed.
func TestTheOldLogsHaveEveryCommand(t *testing.T) {
	source, err := os.ReadFile("command.go")
	if err != nil {
		t.Fatal(err)
	}
	paths, err := filepath.Glob("testdata/v*.log")
	if err != nil {
		t.Fatal(err)
	}
	var log []byte
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		log = append(log, data...)
	}
	kinds := regexp.MustCompile(`case "(\w+)":`).FindAllSubmatch(source, -1)
	if len(kinds) < 10 {
		t.Fatalf("found %d commands in command.go", len(kinds))
	}
	for _, k := range kinds {
		if !bytes.Contains(log, []byte(`"k":"`+string(k[1])+`"`)) {
			t.Errorf("%s is in none", k[1])
		}
	}
}

func indented(t *testing.T, data []byte) string {
	t.Helper()
	var b bytes.Buffer
	if err := json.Indent(&b, bytes.TrimSpace(data), "", " "); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// keepOldLog writes a log with every command, and the state that it gives.
func keepOldLog(t *testing.T, path string) {
	t.Helper()
	var log bytes.Buffer
	c, index, now := state.New(), uint64(0), epoch
	commit := func(cmds ...state.Command) {
		t.Helper()
		index++
		now = now.Add(time.Second)
		p := state.Proposal{At: now, Commands: cmds}
		entry, err := state.Encode(p)
		if err != nil {
			t.Fatal(err)
		}
		log.Write(append(entry, '\n'))
		var errs []error
		if c, errs = state.Apply(c, index, p); errors.Join(errs...) != nil {
			t.Fatal(errs)
		}
	}
	a, b := host("a"), host("b")
	a.Format, b.Format = 2, 2
	commit(state.Found{ID: "c1"}, a, b, state.SetSpec{Spec: tried("1"), Host: "a", By: "an edit on a"})
	commit(place("web", 1), place("web", 2))
	commit(state.Observe{ID: "web-1.2", Phase: state.Ready, Container: "x1"}, state.Observe{ID: "web-2.2", Phase: state.Ready, Container: "x2"})
	commit(state.FinishRollout{Revision: 1})
	// All are sick at once, one is well again, one is given up.
	commit(state.ReportHealth{ID: "web-1.2", Sick: "no answer"}, state.ReportHealth{ID: "web-2.2", Sick: "no answer"})
	commit(state.Suspect{Service: "web", Why: "2 of 2 are sick at once"})
	commit(state.ReportHealth{ID: "web-1.2"}, state.Suspect{Service: "web"})
	commit(state.Fail{ID: "web-2.2", Reason: "no answer", Sick: true}, state.Gone{ID: "web-2.2"})
	commit(place("web", 3))
	commit(state.Observe{ID: "web-3.9", Phase: state.Ready, Container: "x3"})
	// New limits: one can have them, the other cannot.
	limits := tried("2")
	limits.Hash = "s-2-limits"
	commit(state.SetSpec{Spec: limits, Base: 1, Host: "a", By: "an edit on a"})
	commit(state.Relimit{ID: "web-1.2", Was: "w-1", Revision: "w-2"}, state.Relimit{ID: "web-3.9", Was: "w-1", Revision: "w-2"})
	commit(state.Relimited{ID: "web-1.2", Revision: "w-2"}, state.Relimited{ID: "web-3.9", Revision: "w-2", Problem: "it uses 200 MiB"})
	commit(state.Drain{ID: "web-3.9", Why: "unfit", KeepReady: 1, Desired: 3}, state.FinishRollout{Revision: 2})
	// A canary that is aborted, one that fails, one that is promoted, and one
	// that goes on.
	begin := func(version string, share float64) state.StartCanary {
		return state.StartCanary{Spec: tried(version), Base: c.Spec.Revision, Share: share, By: "a deploy by root on b"}
	}
	commit(begin("3", .1))
	commit(state.EndCanary{Canary: 15, Why: "by root"})
	commit(begin("4", .2))
	commit(state.PlaceCanary{Canary: 17, Service: "web", Slot: 4, Host: "b", Revision: "w-4", Why: "canary"})
	commit(state.Fail{ID: "web-4.18", Reason: "exit 1"}, state.Gone{ID: "web-4.18"})
	commit(begin("5", .5))
	commit(state.PlaceCanary{Canary: 20, Service: "web", Slot: 5, Host: "b", Revision: "w-5", Why: "canary"})
	commit(state.Observe{ID: "web-5.21", Phase: state.Ready, Container: "x5"})
	commit(state.Promote{Canary: 20, By: "root"})
	commit(state.FinishRollout{Revision: 3})
	commit(begin("6", .1))
	commit(state.EndCanary{Canary: 25, Failed: true, Why: "web: more errors"})
	commit(begin("7", .1))
	commit(state.PlaceCanary{Canary: 27, Service: "web", Slot: 7, Host: "a", Revision: "w-7", Why: "canary"})
	if err := os.WriteFile(path+".log", log.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".state.json", []byte(indented(t, bytesOf(t, c))+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
}
