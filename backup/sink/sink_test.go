package sink

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/supervisord/supervisord/backup"
)

// server is a real S3 server of this test, behind a hand that can break it.
func server(t *testing.T, fault func(http.ResponseWriter, *http.Request) bool) string {
	t.Helper()
	mem := s3mem.New()
	if err := mem.CreateBucket("bucket"); err != nil {
		t.Fatal(err)
	}
	fake := gofakes3.New(mem, gofakes3.WithLogger(gofakes3.DiscardLog())).Server()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if fault == nil || !fault(w, r) {
			fake.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func s3Target(t *testing.T, endpoint, url string) *S3 {
	t.Helper()
	s, err := NewS3(S3Options{URL: url, Endpoint: endpoint, Credentials: Credentials{AccessKey: "key", SecretKey: "secret"}})
	if err != nil {
		t.Fatal(err)
	}
	// The server of the test takes small parts, so that there are many.
	s.part = 64 << 10
	return s
}

func read(t *testing.T, target backup.Target, name string) []byte {
	t.Helper()
	r, err := target.Open(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// What every target does.
func TestTargets(t *testing.T) {
	endpoint := server(t, nil)
	for name, target := range map[string]backup.Target{
		"directory":            NewDir(filepath.Join(t.TempDir(), "made", "at first")),
		"bucket":               s3Target(t, endpoint, "s3://bucket"),
		"a prefix of a bucket": s3Target(t, endpoint, "s3://bucket/deep/below"),
	} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			if _, err := target.Open(ctx, "c/s/none"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("what is not there opens: %v", err)
			}
			if names, err := target.Names(ctx, "c/s"); len(names) > 0 || err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("names %v, error %v", names, err)
			}
			if err := target.Remove(ctx, "c/s/none"); err != nil {
				t.Errorf("remove what is not there: %v", err)
			}
			text := bytes.Repeat([]byte("0123456789abcdef"), 20_000)
			u, err := target.Create(ctx, "c/s/archive")
			if err != nil {
				t.Fatal(err)
			}
			for part := range slices.Chunk(text, 100_000) {
				if _, err := u.Write(part); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := target.Open(ctx, "c/s/archive"); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("it has its name before it is whole: %v", err)
			}
			if err := errors.Join(u.Commit(ctx), u.Abort(ctx)); err != nil {
				t.Fatal(err)
			}
			if got := read(t, target, "c/s/archive"); !bytes.Equal(got, text) {
				t.Errorf("%d bytes come back of %d", len(got), len(text))
			}
			empty, err := target.Create(ctx, "c/s/empty")
			if err != nil {
				t.Fatal(err)
			}
			if err := empty.Commit(ctx); err != nil {
				t.Fatal(err)
			}
			if got := read(t, target, "c/s/empty"); len(got) != 0 {
				t.Errorf("%d bytes come back of none", len(got))
			}
			for _, text := range []string{"one", "two"} {
				if err := target.Put(ctx, "c/s/small", []byte(text)); err != nil {
					t.Fatal(err)
				}
				if got := read(t, target, "c/s/small"); string(got) != text {
					t.Errorf("%q comes back of %q", got, text)
				}
			}
			if err := target.Put(ctx, "c/s/deeper/x", nil); err != nil {
				t.Fatal(err)
			}
			names, err := target.Names(ctx, "c/s")
			slices.Sort(names)
			if want := []string{"archive", "empty", "small"}; err != nil || !slices.Equal(names, want) {
				t.Errorf("names %v, want %v, error %v", names, want, err)
			}
			aborted, err := target.Create(ctx, "c/s/aborted")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := aborted.Write(text); err != nil {
				t.Fatal(err)
			}
			if err := aborted.Abort(ctx); err != nil {
				t.Fatal(err)
			}
			// One that nobody aborts is what a crash leaves.
			left, err := target.Create(ctx, "c/s/left")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := left.Write(text); err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{"archive", "empty", "small", "left"} {
				if err := target.Remove(ctx, "c/s/"+name); err != nil {
					t.Error(err)
				}
			}
			if names, err := target.Names(ctx, "c/s"); len(names) > 0 || err != nil && !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("left: %v, error %v", names, err)
			}
			if s, ok := target.(*S3); ok {
				if _, err := left.(*upload).s.client.ListParts(ctx, listParts(left.(*upload))); err == nil {
					t.Errorf("the upload that was left in %s is still there", s)
				}
			}
		})
	}
}

func TestDirIsForItsOwnerAndLeadsNowhereElse(t *testing.T) {
	base := filepath.Join(t.TempDir(), "b")
	d := NewDir(base)
	if err := d.Put(t.Context(), "c/s/x", []byte("x")); err != nil {
		t.Fatal(err)
	}
	for p, want := range map[string]os.FileMode{"c/s/x": 0o600, "c/s": 0o700, "": 0o700} {
		info, err := os.Stat(filepath.Join(base, p))
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%q has mode %v, want %v (%v)", p, info.Mode().Perm(), want, err)
		}
	}
	if err := d.Put(t.Context(), "../x", nil); err == nil {
		t.Error("a name leads out of the directory")
	}
	if err := d.Remove(t.Context(), "../../etc/passwd"); err == nil {
		t.Error("a name leads out of the directory")
	}
}

// An upload that the server loses in its midst fails, and leaves no parts.
func TestS3UploadThatBreaksOff(t *testing.T) {
	var broken atomic.Bool
	endpoint := server(t, func(w http.ResponseWriter, r *http.Request) bool {
		if broken.Load() && r.URL.Query().Get("partNumber") == "3" {
			w.WriteHeader(http.StatusForbidden)
			return true
		}
		return false
	})
	s := s3Target(t, endpoint, "s3://bucket/p")
	broken.Store(true)
	j := backup.Job{
		Place: backup.Place{Cluster: "c", Service: "s"}, ID: "s-1", Targets: []backup.Target{s}, Now: time.Now,
		Dumper: noiseDumper{},
	}
	if _, _, err := j.Run(t.Context()); !errors.Is(err, backup.ErrNoTarget) {
		t.Fatalf("error %v", err)
	}
	if names, err := s.Names(t.Context(), "c/s"); err != nil || len(names) > 0 {
		t.Errorf("left: %v, error %v", names, err)
	}
	broken.Store(false)
	if _, _, err := j.Run(t.Context()); err != nil {
		t.Errorf("the next run: %v", err)
	}
}

type noiseDumper struct{}

func (noiseDumper) Extension() string { return ".sql" }

func (noiseDumper) Dump(_ context.Context, to io.Writer) (backup.Content, error) {
	for i := range 4096 {
		// It must not compress to nothing.
		if _, err := io.WriteString(to, strings.Repeat(string(rune('a'+i%26)), i%7)+string(sum(i))); err != nil {
			return backup.Content{}, err
		}
	}
	return backup.Content{}, nil
}

func TestCredentials(t *testing.T) {
	dir := t.TempDir()
	write := func(text string, mode os.FileMode) string {
		p := filepath.Join(dir, "credentials")
		_ = os.Remove(p)
		if err := os.WriteFile(p, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return p
	}
	for name, text := range map[string]string{
		"as AWS writes them":  "[other]\naws_access_key_id = x\n[default]\naws_access_key_id = AK\naws_secret_access_key = S/K=\n",
		"an environment file": "# of the backups\nAWS_ACCESS_KEY_ID=AK\nAWS_SECRET_ACCESS_KEY=S/K=\n",
	} {
		c, err := ReadCredentials(write(text, 0o600))
		if err != nil || c.AccessKey != "AK" || c.SecretKey != "S/K=" {
			t.Errorf("%s: %q %q, %v", name, c.AccessKey, c.SecretKey, err)
		}
		if strings.Contains(c.String()+c.GoString(), "AK") {
			t.Error("they are shown")
		}
	}
	if _, err := ReadCredentials(write("AWS_ACCESS_KEY_ID=AK\nAWS_SECRET_ACCESS_KEY=S\n", 0o644)); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a file that others can read is taken: %v", err)
	}
	if _, err := ReadCredentials(write("AWS_ACCESS_KEY_ID=AK\n", 0o600)); err == nil || strings.Contains(err.Error(), "AK\n") {
		t.Errorf("half of them are taken: %v", err)
	}
	if _, err := EnvironCredentials(func(string) string { return "" }); err == nil {
		t.Error("none are taken")
	}
}

func TestParseS3(t *testing.T) {
	for url, want := range map[string]string{
		"s3://b": "b|", "s3://b/": "b|", "s3://b/p/q": "b|p/q",
		"s3://": "", "s3://b/../c": "", "http://b": "", "s3://key@b": "", "s3://b/p?x=1": "",
	} {
		bucket, prefix, err := ParseS3(url)
		if got := bucket + "|" + prefix; (err == nil) != (want != "") || err == nil && got != want {
			t.Errorf("%q: %q, %v, want %q", url, got, err, want)
		}
	}
}
