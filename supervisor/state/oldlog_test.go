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
		keepOldLog(t, filepath.Join("testdata", "v1-prune"))
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

// keepOldLog writes a log with every new command, and the state that it gives.
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
	keepPruneLog(t, commit, func() state.Cluster { return c })
	if err := os.WriteFile(path+".log", log.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".state.json", []byte(indented(t, bytesOf(t, c))+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
}
