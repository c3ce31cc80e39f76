package raftstore_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/supervisord/supervisord/raftstore"
)

// journal is a machine that remembers what it was given.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) Apply(e raftstore.Entry) any {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, string(e.Data))
	return len(j.lines)
}

func (j *journal) text() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Join(j.lines, "\n")
}

type text string

func (t text) WriteTo(w io.Writer) (int64, error) {
	n, err := io.WriteString(w, string(t))
	return int64(n), err
}

func (j *journal) Snapshot() (io.WriterTo, error) { return text(j.text()), nil }

func (j *journal) Restore(r io.Reader) error {
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = strings.Split(string(data), "\n")
	return nil
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// open starts a server in dir and waits until it leads; it begins the cluster
// where there is none.
func open(t testing.TB, dir string, m raftstore.Machine) *raftstore.Store {
	t.Helper()
	s, err := raftstore.Open(t.Context(), raftstore.Config{Dir: dir, Logger: quiet()}, m)
	if err != nil {
		t.Fatal(err)
	}
	if s.Fresh() {
		if err := s.Bootstrap(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.WaitLeading(t.Context()); err != nil {
		t.Fatal(err)
	}
	return s
}

func propose(t testing.TB, s *raftstore.Store, data string) any {
	t.Helper()
	result, index, err := s.Propose(t.Context(), []byte(data))
	if err != nil || index == 0 {
		t.Fatalf("propose %q: index %d, %v", data, index, err)
	}
	return result
}

func closeStore(t testing.TB, s *raftstore.Store) {
	t.Helper()
	if err := s.Close(context.WithoutCancel(t.Context())); err != nil {
		t.Error(err)
	}
}

func TestOneServerBeginsCommitsAndResumes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	j := &journal{}
	s := open(t, dir, j)
	if got := propose(t, s, "one"); got != 1 {
		t.Errorf("the proposer got %v, want what the machine returned", got)
	}
	propose(t, s, "two")
	if err := s.Bootstrap(t.Context()); err == nil {
		t.Error("a cluster began twice")
	}
	id := s.ID()
	closeStore(t, s)
	if info, _ := os.Stat(dir); info.Mode().Perm() != 0o700 {
		t.Errorf("the directory is open to others: %s", info.Mode())
	}

	again := &journal{}
	s = open(t, dir, again)
	defer closeStore(t, s)
	if s.Fresh() || s.ID() != id {
		t.Errorf("fresh %v, id %s, want the server %s that it was", s.Fresh(), s.ID(), id)
	}
	if again.text() != "one\ntwo" {
		t.Errorf("resumed with %q", again.text())
	}
	if err := s.Bootstrap(t.Context()); !errors.Is(err, raftstore.ErrHasState) {
		t.Errorf("begin again: %v, want ErrHasState", err)
	}
	st := s.Stats()
	// The library counts an entry as applied a moment after the machine did.
	for end := time.Now().Add(5 * time.Second); st.Applied < 2 && time.Now().Before(end); st = s.Stats() {
		time.Sleep(time.Millisecond)
	}
	if !st.IsLeader || st.Leader != id || st.Term == 0 || st.Applied < 2 || st.Commit < st.Applied {
		t.Errorf("stats %+v", st)
	}
}

func TestAServerResumesFromItsSnapshotAndTheLogBehindIt(t *testing.T) {
	dir := t.TempDir()
	j := &journal{}
	s := open(t, dir, j)
	for n := range 10 {
		propose(t, s, strconv.Itoa(n))
	}
	for range 2 { // the second has nothing new
		if err := s.Snapshot(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	propose(t, s, "after")
	closeStore(t, s)
	again := &journal{}
	closeStore(t, open(t, dir, again))
	if again.text() != j.text() {
		t.Errorf("resumed with %q, it was %q", again.text(), j.text())
	}
}

func TestADirectoryHasOneOwner(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, &journal{})
	_, err := raftstore.Open(t.Context(), raftstore.Config{Dir: dir, Logger: quiet()}, &journal{})
	if !errors.Is(err, raftstore.ErrLocked) || !strings.Contains(err.Error(), dir) {
		t.Errorf("second owner: %v, want ErrLocked that names %s", err, dir)
	}
	closeStore(t, s)
	closeStore(t, open(t, dir, &journal{}))
}

func TestAServersIDNeverChanges(t *testing.T) {
	dir := t.TempDir()
	closeStore(t, open(t, dir, &journal{}))
	if _, err := raftstore.Open(t.Context(), raftstore.Config{Dir: dir, ID: "other", Logger: quiet()}, &journal{}); err == nil {
		t.Error("opened under another id")
	}
	if err := os.WriteFile(filepath.Join(dir, "server-id"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := raftstore.Open(t.Context(), raftstore.Config{Dir: dir, Logger: quiet()}, &journal{}); err == nil || !strings.Contains(err.Error(), "server-id is empty") {
		t.Errorf("empty id file: %v", err)
	}
}

func TestAfterCloseProposalsAreRefused(t *testing.T) {
	s := open(t, t.TempDir(), &journal{})
	closeStore(t, s)
	if _, _, err := s.Propose(t.Context(), []byte("late")); !errors.Is(err, raftstore.ErrClosed) {
		t.Errorf("got %v, want ErrClosed", err)
	}
}

func TestAProposerMayGiveUp(t *testing.T) {
	s := open(t, t.TempDir(), &journal{})
	defer closeStore(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := s.Propose(ctx, []byte("x")); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want the context's error or none", err)
	}
}

// childDir makes the test binary a server that is to be killed.
const childDir = "RAFTSTORE_TEST_CHILD_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		if err := writeForever(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// writeForever commits entries and prints each once it is acknowledged.
func writeForever(dir string) error {
	ctx := context.Background()
	j := &journal{}
	s, err := raftstore.Open(ctx, raftstore.Config{Dir: dir, Logger: quiet(), SnapshotEvery: 64}, j)
	if err != nil {
		return err
	}
	if s.Fresh() {
		if err := s.Bootstrap(ctx); err != nil {
			return err
		}
	}
	if err := s.WaitLeading(ctx); err != nil {
		return err
	}
	begin := 0
	if t := j.text(); t != "" {
		begin = len(strings.Split(t, "\n"))
	}
	for n := begin; ; n++ {
		if _, _, err := s.Propose(ctx, []byte(strconv.Itoa(n))); err != nil {
			return err
		}
		fmt.Println(n)
		if n%100 == 99 {
			if err := s.Snapshot(ctx); err != nil {
				return err
			}
		}
	}
}

func TestWhatWasAcknowledgedSurvivesKill9(t *testing.T) {
	if testing.Short() {
		t.Skip("kills processes for some seconds")
	}
	dir := t.TempDir()
	acked := -1
	for round := range 8 {
		child := exec.CommandContext(t.Context(), os.Args[0])
		child.Env = append(os.Environ(), childDir+"="+dir)
		child.Stderr = os.Stderr
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for seen := 0; seen < 30+57*round && lines.Scan(); seen++ {
			if acked, err = strconv.Atoi(lines.Text()); err != nil {
				t.Fatal(err)
			}
		}
		if err := child.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for lines.Scan() { // acknowledged before the kill reached it
			if n, err := strconv.Atoi(lines.Text()); err == nil {
				acked = n
			}
		}
		if err := child.Wait(); err == nil {
			t.Fatal("the child ended by itself")
		}
		j := &journal{}
		closeStore(t, open(t, dir, j))
		got := strings.Split(j.text(), "\n")
		if len(got) <= acked {
			t.Fatalf("round %d: %d entries were acknowledged, %d are there", round, acked+1, len(got))
		}
		for n, line := range got {
			if line != strconv.Itoa(n) {
				t.Fatalf("round %d: entry %d is %q", round, n, line)
			}
		}
	}
	if acked < 100 {
		t.Fatalf("only %d entries in all: the test tested nothing", acked)
	}
}

func TestATornLogTailIsCutOffAndTheRestStays(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, &journal{})
	for n := range 20 {
		propose(t, s, strconv.Itoa(n))
	}
	closeStore(t, s)
	// What a power cut leaves behind the last entry that was synced.
	segments, err := filepath.Glob(filepath.Join(dir, "log", "*.wal"))
	if err != nil || len(segments) == 0 {
		t.Fatalf("segments %v, %v", segments, err)
	}
	tail := segments[len(segments)-1]
	data, err := os.ReadFile(tail)
	if err != nil {
		t.Fatal(err)
	}
	end := len(strings.TrimRight(string(data), "\x00"))
	copy(data[end+8:], "half of an entry that was never acknowledged")
	if err := os.WriteFile(tail, data, 0o600); err != nil {
		t.Fatal(err)
	}
	j := &journal{}
	s = open(t, dir, j)
	defer closeStore(t, s)
	if got := strings.Count(j.text(), "\n") + 1; got != 20 {
		t.Errorf("%d entries are there, want 20", got)
	}
	propose(t, s, "goes on")
}

func TestWhileLeaderRunsOnceAndReturnsWhatItsDutyReturns(t *testing.T) {
	s := open(t, t.TempDir(), &journal{})
	defer closeStore(t, s)
	want := errors.New("enough")
	if err := s.WhileLeader(t.Context(), func(context.Context) error { return want }); !errors.Is(err, want) {
		t.Errorf("got %v, want the duty's error", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	ended := false
	err := s.WhileLeader(ctx, func(ctx context.Context) error {
		<-ctx.Done()
		ended = true
		return ctx.Err()
	})
	if !errors.Is(err, context.DeadlineExceeded) || !ended {
		t.Errorf("got %v, ended %v: want the context's end, and the duty waited for", err, ended)
	}
}

func BenchmarkPropose1KiB(b *testing.B) {
	s := open(b, b.TempDir(), &journal{})
	defer closeStore(b, s)
	data := make([]byte, 1024)
	for b.Loop() {
		if _, _, err := s.Propose(b.Context(), data); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkStartAndLead(b *testing.B) {
	dir := b.TempDir()
	closeStore(b, open(b, dir, &journal{}))
	for b.Loop() {
		closeStore(b, open(b, dir, &journal{}))
	}
}
