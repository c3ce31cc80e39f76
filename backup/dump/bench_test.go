package dump_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/supervisord/supervisord/backup"
	"github.com/supervisord/supervisord/backup/dump/dbtest"
	"github.com/supervisord/supervisord/backup/sink"
)

// timedDir notes when the archive is durable and is about to be read back.
type timedDir struct {
	*sink.Dir
	read time.Time
}

func (d *timedDir) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	if d.read.IsZero() {
		d.read = time.Now()
	}
	return d.Dir.Open(ctx, name)
}

// BenchmarkThroughput compares a backup of more than 500 MB of SQL with the bare
// pipe pg_dump | zstd, in turn: what is measured is the stream until the archive
// is durable, without reading it back, which the pipe does not do.
func BenchmarkThroughput(b *testing.B) {
	db := dbtest.Postgres(b)
	db.Must(`CREATE TABLE t AS SELECT n AS id, 'customer number ' || n AS name, md5(n::text) AS token, now() + n * interval '1 second' AS at,
		(ARRAY['new','paid','sent','returned'])[1 + n % 4] AS status, n * 17 % 100000 AS cents, repeat('lorem ipsum ', n % 9) AS note FROM generate_series(1, 3600000) n; VACUUM t;`,
		"psql", "-q", "-d", "shop")
	dir := b.TempDir()
	var bares, ours []float64
	var m backup.Manifest
	for b.Loop() {
		for n := range 9 {
			began := time.Now()
			db.Must("", "sh", "-c", "pg_dump shop | zstd -q -3 -f -o "+dir+"/bare.zst && sync "+dir+"/bare.zst")
			bares = append(bares, time.Since(began).Seconds())
			p := &backup.Progress{}
			timed := &timedDir{Dir: sink.NewDir(filepath.Join(dir, "b"))}
			began = time.Now()
			var err error
			m, _, err = backup.Job{
				Place: backup.Place{Cluster: "c", Service: "s"}, ID: fmt.Sprintf("s-%d-%d", b.N, n), Now: time.Now, Progress: p,
				Dumper: engineOf(b, "postgres", db), Targets: []backup.Target{timed},
			}.Run(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			ours = append(ours, timed.read.Sub(began).Seconds())
			if err := os.RemoveAll(filepath.Join(dir, "b")); err != nil {
				b.Fatal(err)
			}
		}
	}
	info, err := os.Stat(dir + "/bare.zst")
	if err != nil {
		b.Fatal(err)
	}
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	slices.Sort(bares)
	slices.Sort(ours)
	mb := float64(m.DumpSize) / 1e6
	b.ReportMetric(mb, "MB")
	b.ReportMetric(mb/bares[len(bares)/2], "bare-MB/s")
	b.ReportMetric(mb/ours[len(ours)/2], "backup-MB/s")
	b.ReportMetric(bares[len(bares)/2]/ours[len(ours)/2], "ratio")
	b.ReportMetric(float64(info.Size())/float64(m.Size), "size-ratio")
	b.ReportMetric(float64(mem.Sys)/(1<<20), "peak-MiB")
}
