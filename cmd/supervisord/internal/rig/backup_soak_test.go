package rig_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/supervisord/supervisord/supervisor/api"
)

var soakBackups = flag.Int("soak.backups", 5, "how many backups are killed in some way at a random point")

// killedRows make a backup long enough to be met by something.
const killedRows = 200_000

// TestKilledBackups kills the daemon, the dump's tool and the database, fills
// the disk and cuts the bucket off, at random points of backups. Never is one
// called done that is not whole, never is the one lost that is known to restore,
// and nothing is left over in the end.
func TestKilledBackups(t *testing.T) {
	flags := []string{"-race"}
	if *soakBackups > 20 {
		flags = nil // so many take long enough without it
	}
	binary, _ := build(t, flags...)
	cut := &cutter{}
	v := startVaultBehind(t, binary, ", keep: {last: 3}", cut)
	v.mountDisk()
	v.sh("pg", fmt.Sprintf(`PGPASSWORD=$POSTGRES_PASSWORD psql -qU boss shop -c "CREATE TABLE t AS SELECT n AS id, md5(n::text) AS v FROM generate_series(1, %d) n"`, killedRows))
	usual := v.usual()
	known := v.backups("pg").Services[0].Last.ID
	v.runs(0, "drill: ", "backup", "verify", known)
	outcome := map[string]int{}
	for n := range *soakBackups {
		how := strikes[n%len(strikes)]
		before := v.sessions()
		began, err := v.Client.BackUp(v.ctx, api.BackupNow{Service: "pg", By: "a test"})
		if err != nil {
			t.Fatal(err)
		}
		at := time.Duration(rand.Int64N(int64(usual) * 5 / 4))
		time.Sleep(at)
		undo := v.strike(how, cut)
		v.allReady()
		end := v.ended(began.Task.ID)
		undo()
		became := "done"
		switch {
		case end.Record == nil:
			became = "failed"
		case end.Record.Partial:
			became = "partial"
		}
		outcome[how+" "+became]++
		t.Logf("%s after %s of some %s: %s %q", how, at.Round(time.Millisecond), usual.Round(time.Millisecond), became, end.Result.Error)
		// A daemon that is killed between its targets' last steps has one copy.
		if became == "partial" && (how == "dump" || how == "database") {
			t.Errorf("%s: all targets took it, but %v", how, end.Record.Missing)
		}
		if how != "database" && v.sessions() != before {
			t.Error("the database lost its connections")
		}
		v.idle()
		v.whole()
		if now := v.backups("pg").Services[0].KnownToRestore; now == nil || now.ID != known {
			t.Fatalf("%s is known to restore, and lost: %+v", known, now)
		}
	}
	t.Logf("of %d: %v", *soakBackups, outcome)
	// And all is well then.
	v.runs(0, "", "backup", "now", "pg")
	v.idle()
	v.nothingLeft()
	v.bucketHasNothingElse()
}

// usual is how long a backup takes that nobody kills.
func (v *vault) usual() time.Duration {
	v.t.Helper()
	began := time.Now()
	a, err := v.Client.BackUp(v.ctx, api.BackupNow{Service: "pg", By: "a test"})
	if err != nil {
		v.t.Fatal(err)
	}
	if end := v.ended(a.Task.ID); end.Result.Error != "" {
		v.t.Fatal(end.Result.Error)
	}
	return time.Since(began)
}

// ended waits for the end of a task, whatever becomes of the daemon meanwhile.
func (v *vault) ended(id string) api.TaskAnswer {
	v.t.Helper()
	var a api.TaskAnswer
	v.eventually("task "+id+" ends", func() string {
		var err error
		if a, err = v.Client.Task(v.ctx, id); err != nil {
			return err.Error()
		}
		if !a.Ended {
			return fmt.Sprintf("%+v", a.Progress)
		}
		return ""
	})
	return a
}

// BenchmarkBackup compares a backup by the daemon, of more than 500 MB of SQL in
// a container, with the bare pipe pg_dump | zstd in turn: with zstd in that
// container, and with the dump coming out of it, as "docker exec" brings it.
func BenchmarkBackup(b *testing.B) {
	binary, _ := build(b)
	v := startVaultBehind(b, binary, ", verify: never", &cutter{})
	v.sh("pg", `PGPASSWORD=$POSTGRES_PASSWORD psql -qU boss shop -c "CREATE TABLE t AS SELECT n AS id, 'customer number ' || n AS name, md5(n::text) AS token,
		now() + n * interval '1 second' AS at, (ARRAY['new','paid','sent','returned'])[1 + n % 4] AS status, n * 17 % 100000 AS cents, repeat('lorem ipsum ', n % 9) AS note
		FROM generate_series(1, 3600000) n" -c "VACUUM ANALYZE t"`)
	const inside = `set -e; PGPASSWORD=$POSTGRES_PASSWORD pg_dump -U boss shop | zstd -q -3 >/tmp/bare.zst; sync /tmp/bare.zst; stat -c %s /tmp/bare.zst; rm /tmp/bare.zst`
	bare := filepath.Join(v.Dir, "bare.zst")
	outside := "docker exec pg-1 sh -c 'PGPASSWORD=$POSTGRES_PASSWORD pg_dump -U boss shop' | zstd -q -3 -f -o " + bare + " && sync " + bare
	var in, out, ours []float64
	var last api.Backup
	for b.Loop() {
		for range 5 {
			began := time.Now()
			v.sh("pg", inside)
			in = append(in, time.Since(began).Seconds())
			began = time.Now()
			if text, err := exec.CommandContext(v.ctx, "sh", "-c", outside).CombinedOutput(); err != nil {
				b.Fatalf("%v: %s", err, text)
			}
			out = append(out, time.Since(began).Seconds())
			a, err := v.Client.BackUp(v.ctx, api.BackupNow{Service: "pg", By: "a benchmark"})
			if err != nil {
				b.Fatal(err)
			}
			end := v.ended(a.Task.ID)
			if end.Result.Error != "" {
				b.Fatal(end.Result.Error)
			}
			last = *end.Record
			ours = append(ours, last.Ended.Sub(last.Began).Seconds())
		}
		a, err := v.Client.VerifyBackup(v.ctx, last.ID, api.BackupUse{})
		if err != nil {
			b.Fatal(err)
		}
		b.Logf("drill: %+v", v.ended(a.Task.ID).Result)
	}
	info, err := os.Stat(bare)
	if err != nil {
		b.Fatal(err)
	}
	mb := float64(last.DumpSize) / 1e6
	b.ReportMetric(mb/median(in), "inside-MB/s")
	b.ReportMetric(mb/median(out), "outside-MB/s")
	b.ReportMetric(mb/median(ours), "backup-MB/s")
	b.ReportMetric(median(out)/median(ours), "ratio")
	b.ReportMetric(float64(info.Size())/float64(last.Size), "size-ratio")
	b.ReportMetric(peak(b, v.PID()), "peak-MiB")
	if known := v.backups("pg").Services[0].KnownToRestore; known != nil {
		b.ReportMetric(known.DrillSeconds, "drill-s")
	}
}

func median(all []float64) float64 { return slices.Sorted(slices.Values(all))[len(all)/2] }

// peak is the most memory that a process has had, in MiB.
func peak(t testing.TB, pid int) float64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "VmHWM:" {
			kib, err := strconv.Atoi(f[1])
			if err != nil {
				t.Fatal(err)
			}
			return float64(kib) / 1024
		}
	}
	t.Fatal("no VmHWM")
	return 0
}
