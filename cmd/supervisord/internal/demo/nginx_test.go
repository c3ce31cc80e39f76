package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func nginx(t *testing.T) *PrivateNginx {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a real nginx")
	}
	return &PrivateNginx{Dir: t.TempDir()}
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// serving puts a server into nginx's root, reloads, and waits for its answer.
// What it does for /slow is not to answer.
func serving(t *testing.T, n *PrivateNginx) (url string) {
	t.Helper()
	address := freePort(t)
	hole, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = hole.Close() })
	current := filepath.Join(n.Root(), "current")
	if err := os.MkdirAll(current, 0o755); err != nil {
		t.Fatal(err)
	}
	site := fmt.Sprintf("server { listen %s; location / { return 200 fine; } location /slow { proxy_pass http://%s; } }\n", address, hole.Addr())
	if err := os.WriteFile(filepath.Join(current, "site.conf"), []byte(site), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(n.process.Pid, syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	url = "http://" + address
	deadline := time.Now().Add(30 * time.Second)
	for {
		resp, err := http.Get(url)
		if err == nil {
			body, _ := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if string(body) != "fine" {
				t.Fatalf("%s: %s", resp.Status, body)
			}
			http.DefaultClient.CloseIdleConnections()
			return url
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// gone fails the test if a process of nginx's group is left.
func gone(t *testing.T, n *PrivateNginx) {
	t.Helper()
	select {
	case <-n.Done():
	default:
		t.Error("nginx is not done")
	}
	deadline := time.Now().Add(10 * time.Second)
	for !errors.Is(syscall.Kill(-n.process.Pid, 0), syscall.ESRCH) {
		if time.Now().After(deadline) {
			t.Fatal("processes of nginx are left")
		}
		// What was killed has to be reaped by the machine's first process.
		time.Sleep(10 * time.Millisecond)
	}
}

func TestAPrivateNginxServesWhatIsPutInItsRootAndLeavesNothing(t *testing.T) {
	n := nginx(t)
	if err := n.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	url := serving(t, n)
	if err := n.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	gone(t, n)
	if resp, err := http.Get(url); err == nil {
		_ = resp.Body.Close()
		t.Error("it still answers")
	}
}

func TestAPrivateNginxThatDoesNotStartSaysWhy(t *testing.T) {
	n := nginx(t)
	n.MimeTypes = filepath.Join(n.Dir, "not-there")
	err := n.Start(t.Context())
	if !errors.Is(err, ErrNginxEnded) || !strings.Contains(err.Error(), "not-there") {
		t.Errorf("error %v", err)
	}
	gone(t, n)
	missing := &PrivateNginx{Dir: t.TempDir(), Binary: "/no/such/nginx"}
	if err := missing.Start(t.Context()); !errors.Is(err, os.ErrNotExist) && !errors.Is(err, exec.ErrNotFound) {
		t.Errorf("error %v", err)
	}
}

func TestAPrivateNginxThatDiesIsNoticedAndItsWorkersGoWithIt(t *testing.T) {
	n := nginx(t)
	if err := n.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	serving(t, n)
	if err := syscall.Kill(n.process.Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-n.Done()
	gone(t, n)
	if err := n.Stop(t.Context()); !errors.Is(err, ErrNginxEnded) {
		t.Errorf("stop: %v", err)
	}
}

func TestAStopThatMayNotWaitEndsItAtOnceAndSaysSo(t *testing.T) {
	n := nginx(t)
	if err := n.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", strings.TrimPrefix(serving(t, n), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	// A worker that has read the request answers it before it quits; one that
	// has not may end at once. A second answer on another connection does not
	// tell, so give it a moment.
	time.Sleep(100 * time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := n.Stop(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("stop: %v", err)
	}
	gone(t, n)
}

func TestAStopOfWhatWasNeverStartedIsNothing(t *testing.T) {
	if err := new(PrivateNginx).Stop(t.Context()); err != nil {
		t.Error(err)
	}
}
