package rig_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/johannesboyne/gofakes3"

	"github.com/supervisord/supervisord/backup"
	"github.com/supervisord/supervisord/backup/sink"
	"github.com/supervisord/supervisord/cmd/supervisord/internal/rig"
	"github.com/supervisord/supervisord/supervisor/api"
)

// strikes are what may happen to a backup.
var strikes = []string{"daemon", "dump", "database", "disk", "bucket"}

// strike has one of them happen, and returns what mends it.
func (v *vault) strike(how string, cut *cutter) (undo func()) {
	v.t.Helper()
	undo = func() {}
	var err error
	switch how {
	case "daemon":
		err = errors.Join(v.Kill(), v.Start(v.ctx))
	case "dump":
		// It may have ended by now.
		_, _ = rig.Docker(v.ctx, "exec", "pg-1", "sh", "-c", `for p in /proc/[0-9]*; do read -r name <$p/comm 2>/dev/null && [ "$name" = pg_dump ] && kill -9 "${p#/proc/}"; done; true`)
	case "database":
		err = v.killDatabase()
	case "disk":
		ballast := filepath.Join(v.dir, "ballast")
		fill(ballast)
		undo = func() {
			if err := os.Remove(ballast); err != nil {
				v.t.Error(err)
			}
		}
	case "bucket":
		cut.on.Store(true)
		undo = func() { cut.on.Store(false) }
	}
	if err != nil {
		v.t.Fatal(err)
	}
	return undo
}

// killDatabase kills the database with its container, but where that would be a
// crash loop: there one of its processes, so that it ends all connections and
// recovers.
func (v *vault) killDatabase() error {
	v.t.Helper()
	var db api.Instance
	for _, i := range v.instances() {
		if i.Service == "pg" {
			db = i
		}
	}
	if time.Since(db.PhaseAt) < noLoop {
		_, err := rig.Docker(v.ctx, "exec", "pg-1", "sh", "-c", `for p in /proc/[0-9]*; do read -r name <$p/comm 2>/dev/null && [ "$name" = postgres ] && [ "${p#/proc/}" != 1 ] && kill -9 "${p#/proc/}" && exit; done; exit 1`)
		return err
	}
	v.kill(db)
	return nil
}

// mountDisk puts a small file system of its own in the place of the directory
// for backups.
func (v *vault) mountDisk() {
	v.t.Helper()
	err := os.MkdirAll(v.dir, 0o700)
	if err == nil {
		err = syscall.Mount("tmpfs", v.dir, "tmpfs", 0, "size=1g")
	}
	if err != nil {
		v.t.Fatal(err)
	}
	v.t.Cleanup(func() {
		if err := syscall.Unmount(v.dir, syscall.MNT_DETACH); err != nil {
			v.t.Error(err)
		}
	})
}

// fill writes a file until no more goes in.
func fill(file string) {
	f, err := os.Create(file)
	if err != nil {
		return
	}
	defer f.Close()
	for size := 1 << 20; size > 0; {
		if _, err := f.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
}

// cutter is a network that ends requests in the midst of their bodies, as long
// as it is on.
type cutter struct {
	on      atomic.Bool
	handler http.Handler
}

func (c *cutter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.Body = cutBody{r.Body, c}
	if !c.on.Load() {
		c.handler.ServeHTTP(w, r)
	}
	if c.on.Load() {
		panic(http.ErrAbortHandler)
	}
}

type cutBody struct {
	io.ReadCloser
	c *cutter
}

func (b cutBody) Read(p []byte) (int, error) {
	if b.c.on.Load() {
		return 0, io.ErrUnexpectedEOF
	}
	return b.ReadCloser.Read(p)
}

// sessions changes when the database ends all connections, though nobody has
// ended the database. One that was killed recovers first.
func (v *vault) sessions() (since string) {
	v.t.Helper()
	v.eventually("the database takes connections", func() string {
		var err error
		since, err = rig.Docker(v.ctx, "exec", "pg-1", "sh", "-c",
			`PGPASSWORD=$POSTGRES_PASSWORD psql -qAtU boss shop -c "SELECT backend_start FROM pg_stat_activity WHERE backend_type = 'checkpointer'"`)
		switch {
		case err != nil:
			return err.Error()
		case since == "":
			return "it has no checkpointer yet"
		}
		return ""
	})
	return since
}

// idle waits until no task is under way: old backups are removed after new ones.
func (v *vault) idle() {
	v.t.Helper()
	v.eventually("no task is under way", func() string {
		for _, s := range v.backups("").Services {
			if s.Task != nil {
				return fmt.Sprintf("%+v", s.Task)
			}
		}
		return ""
	})
}

// whole wants every copy of every backup that is known to be whole. What is
// removed just then, since an earlier attempt at that had failed, is not known
// any more at the second look.
func (v *vault) whole() {
	v.t.Helper()
	if len(v.broken()) == 0 {
		return
	}
	v.idle()
	for _, problem := range v.broken() {
		v.t.Error(problem)
	}
}

func (v *vault) broken() (problems []string) {
	v.t.Helper()
	place := backup.Place{Cluster: v.cluster(), Service: "pg"}
	for _, b := range v.backups("pg").Backups {
		for _, name := range b.Copies {
			target := v.target(name)
			m, err := backup.ReadManifest(v.ctx, target, place, b.ID)
			if err == nil {
				err = backup.Verify(v.ctx, target, place, m, nil, nil)
			}
			if err != nil || m.Content.Rows() != killedRows {
				problems = append(problems, fmt.Sprintf("%s is called done: %+v, %v", b.ID, b, err))
			}
		}
		if b.Partial == (len(b.Copies) == 2) {
			problems = append(problems, fmt.Sprintf("%s has the copies %v, and is called partial: %t", b.ID, b.Copies, b.Partial))
		}
	}
	return problems
}

func (v *vault) target(name string) backup.Target {
	v.t.Helper()
	if !strings.HasPrefix(name, "s3://") {
		return sink.NewDir(name)
	}
	s, err := sink.NewS3(sink.S3Options{URL: name, Endpoint: v.s3, Credentials: sink.Credentials{AccessKey: "k", SecretKey: "s"}})
	if err != nil {
		v.t.Fatal(err)
	}
	return s
}

// bucketHasNothingElse wants no object in the bucket that no backup has, and no
// upload that was begun.
func (v *vault) bucketHasNothingElse() {
	v.t.Helper()
	known := v.known()
	all, err := v.objects.ListBucket("bucket", nil, gofakes3.ListBucketPage{})
	if err != nil {
		v.t.Fatal(err)
	}
	for _, o := range all.Contents {
		if id, _, _ := strings.Cut(filepath.Base(o.Key), "."); !known[id] {
			v.t.Errorf("%s is left over", o.Key)
		}
	}
	resp, err := http.Get(v.s3 + "/bucket?uploads")
	if err != nil {
		v.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusNotFound || strings.Contains(string(text), "<UploadId>") {
		v.t.Errorf("uploads are left over: %s, %v, %s", resp.Status, err, text)
	}
}
