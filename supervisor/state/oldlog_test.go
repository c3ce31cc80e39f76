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

	"github.com/supervisord/supervisord/autoscale"
	"github.com/supervisord/supervisord/supervisor/state"
)

var writeOldLog = flag.Bool("write-old-log", false, "write the log of this version's format, which must never change again")

// TestOldLogsGiveTheStateTheyGave replays logs as earlier versions wrote them.
// What they gave then is in a file beside each: a command may be added, and may
// get another field, but what was committed once means the same for ever, or
// hosts of two versions would differ. There is a log for each version of the
// format; none is ever edited.
func TestOldLogsGiveTheStateTheyGave(t *testing.T) {
	if *writeOldLog {
		keepOldLog(t, filepath.Join("testdata", "v1"))
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

// TestTheNewestOldLogHasEveryCommand: a command that is in no log could change
// unnoticed.
func TestTheNewestOldLogHasEveryCommand(t *testing.T) {
	source, err := os.ReadFile("command.go")
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.ReadFile("testdata/v1.log")
	if err != nil {
		t.Fatal(err)
	}
	kinds := regexp.MustCompile(`case "(\w+)":`).FindAllSubmatch(source, -1)
	if len(kinds) < 10 {
		t.Fatalf("found %d commands in command.go", len(kinds))
	}
	for _, k := range kinds {
		if !bytes.Contains(log, []byte(`"k":"`+string(k[1])+`"`)) {
			t.Errorf("%s is not in it", k[1])
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
	commit(state.Found{ID: "c1"}, host("a"), host("b"), host("c"))
	commit(state.OpenCluster{Authority: state.Authority{Cert: "cert", Key: "key"}},
		state.AddToken{ID: "t1", Hash: "h1", Expires: epoch.Add(time.Hour)}, state.AddToken{ID: "t2", Hash: "h2", Expires: epoch.Add(time.Hour)})
	commit(state.RevokeToken{ID: "t2"}, state.Admit{Token: "t1", Server: "s-d", Host: "d"}, host("d"))
	commit(state.SetSpec{Spec: spec("1"), Host: "a"})
	commit(place("web", 1), state.Place{Service: "web", Slot: 2, Host: "b", Revision: "w-1", Why: "has the most room"},
		state.Place{Service: "db", Slot: 1, Host: "c", Revision: "d"}, state.Place{Service: "worker", Slot: 1, Host: "d", Revision: "k-1"})
	commit(state.Observe{ID: "web-1.5", Phase: state.Starting, Container: "x1", Address: "a:4000"},
		state.Observe{ID: "web-1.5", Phase: state.Ready, Container: "x1", Address: "a:4000"},
		state.Observe{ID: "web-2.5", Phase: state.Ready, Container: "x2", Address: "b:4000"},
		state.Observe{ID: "db-1.5", Phase: state.Ready, Container: "x3"})
	commit(state.Fail{ID: "worker-1.5", Reason: "exit 1"}, state.Note{Event: state.Event{Kind: state.EventSpecConflict, Host: "b", Message: "two edits"}})
	commit(state.ScaleTo{Service: "web", Decision: autoscale.Decision{
		At: now, From: 3, Wanted: 5, To: 5, Reason: autoscale.ReasonAboveThreshold,
	}}, state.Hold{Service: "worker", Count: ptr(1)})
	commit(state.ReportSpecError{Host: "b", Problem: "line 3: no such key"}, state.DrainHost{Name: "b"})
	commit(state.Drain{ID: "web-2.5", Why: "its host b is being drained", KeepReady: 1},
		state.ConfirmRoutes{Host: "a", Index: 9, Rejected: map[string]string{"web": "nginx says no"}})
	commit(state.Gone{ID: "web-2.5"}, state.Gone{ID: "worker-1.5"}, state.ConfirmRoutes{Host: "a", Index: 10})
	commit(state.LoseHost{Name: "c", Why: "silent for 10s"}, state.DrainHost{Name: "b", Off: true})
	commit(state.FindHost{Name: "c"}, state.RemoveHost{Name: "d"})
	commit(state.Place{Service: "web", Slot: 2, Host: "b", Revision: "w-1"}, state.Hold{Service: "worker"})
	if err := os.WriteFile(path+".log", log.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".state.json", []byte(indented(t, bytesOf(t, c))+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
}
