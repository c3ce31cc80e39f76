package sample_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/supervisord/supervisord/lbconfig/accesslog"
	"github.com/supervisord/supervisord/supervisor/sample"
)

// written is a log that a test writes as nginx does.
type written struct {
	t    *testing.T
	path string
}

func (w written) say(text string) {
	w.t.Helper()
	f, err := os.OpenFile(w.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := f.WriteString(text); err != nil {
		w.t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		w.t.Fatal(err)
	}
}

func (w written) attempts(n int, address string, status int) {
	w.t.Helper()
	for range n {
		w.say(attempted(address, status))
	}
}

func attempted(address string, status int) string {
	return fmt.Sprintf(`{"uri":"/","upstream":"%s","upstream_status":"%d","upstream_response_time":"0.001"}`+"\n", address, status)
}

func TestTheAccessLogIsFollowed(t *testing.T) {
	w := written{t, filepath.Join(t.TempDir(), "access.log")}
	l := sample.NewAccessLog(w.path)
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	reads := func(what string, want map[string]uint64) {
		t.Helper()
		counts, err := l.Read()
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]uint64{}
		for address, c := range counts {
			got[address] = c.Requests*1000 + c.Errors
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
	}
	none := map[string]uint64{}
	reads("there is no log", none)
	w.attempts(2, "a:1", 200)
	reads("it came after it was looked for", map[string]uint64{"a:1": 2000})
	reads("nothing new", none)
	w.attempts(1, "a:1", 200)
	w.attempts(2, "b:1", 502)
	w.say("192.0.2.1 - - another form\n")
	reads("more", map[string]uint64{"a:1": 1000, "b:1": 2002})
	half := attempted("a:1", 200)
	w.say(half[:30])
	reads("half a line", none)
	w.say(half[30:])
	reads("its other half", map[string]uint64{"a:1": 1000})

	// logrotate renames, and nginx writes on to the old file for a while.
	old := written{t, w.path + ".1"}
	if err := os.Rename(w.path, old.path); err != nil {
		t.Fatal(err)
	}
	old.attempts(1, "a:1", 200)
	reads("renamed", map[string]uint64{"a:1": 1000})
	old.attempts(2, "a:1", 200)
	w.attempts(3, "b:1", 200)
	reads("reopened", map[string]uint64{"a:1": 2000, "b:1": 3000})
	w.attempts(1, "b:1", 200)
	reads("the new one", map[string]uint64{"b:1": 1000})

	if err := os.Truncate(w.path, 0); err != nil {
		t.Fatal(err)
	}
	w.attempts(1, "c:1", 200)
	reads("cut off", map[string]uint64{"c:1": 1000})
}

func TestWhatIsInTheAccessLogBeforeIsOld(t *testing.T) {
	w := written{t, filepath.Join(t.TempDir(), "access.log")}
	w.attempts(3, "a:1", 500)
	l := sample.NewAccessLog(w.path)
	for n := range 2 {
		if counts, err := l.Read(); err != nil || len(counts) != 0 {
			t.Errorf("read %d: %v, %v", n, counts, err)
		}
	}
	w.attempts(1, "a:1", 200)
	counts, err := l.Read()
	if err != nil || counts["a:1"].Requests != 1 || counts["a:1"].Errors != 0 {
		t.Errorf("got %v, %v", counts, err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

func BenchmarkAccessLog(b *testing.B) {
	path := filepath.Join(b.TempDir(), "access.log")
	l := sample.NewAccessLog(path)
	if _, err := l.Read(); err != nil {
		b.Fatal(err)
	}
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	var block []byte
	const lines = 1000
	for n := range lines {
		block = append(block, attempted(fmt.Sprintf("10.0.0.1:%d", 4000+n%40), 200)...)
	}
	b.SetBytes(int64(len(block)))
	var all accesslog.Counts
	for b.Loop() {
		if _, err := f.Write(block); err != nil {
			b.Fatal(err)
		}
		counts, err := l.Read()
		if err != nil {
			b.Fatal(err)
		}
		for _, c := range counts {
			all.Merge(c)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/lines, "ns/request")
}
