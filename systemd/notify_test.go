package systemd

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// manager listens as systemd does and returns what it is told next.
func manager(t *testing.T, socket string) (next func() string) {
	t.Helper()
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return func() string {
		t.Helper()
		if err := l.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 4096)
		n, err := l.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
}

func env(m map[string]string) func(string) string { return func(k string) string { return m[k] } }

func TestMessagesReachTheSocket(t *testing.T) {
	for name, socket := range map[string]string{
		"path":     filepath.Join(t.TempDir(), "notify"),
		"abstract": "@supervisord-test-" + strconv.Itoa(os.Getpid()),
	} {
		t.Run(name, func(t *testing.T) {
			next := manager(t, socket)
			n := FromEnv(env(map[string]string{"NOTIFY_SOCKET": socket}))
			for _, tc := range []struct {
				call func() error
				want string
			}{
				{n.Ready, "READY=1"},
				{n.Reloading, "RELOADING=1"},
				{n.Stopping, "STOPPING=1"},
				{func() error { return n.Status("3 services, 7 instances") }, "STATUS=3 services, 7 instances"},
				{func() error { return n.Status("a\r\nSTOPPING=1\n") }, "STATUS=a STOPPING=1"},
			} {
				if err := tc.call(); err != nil {
					t.Fatal(err)
				}
				if got := next(); got != tc.want {
					t.Errorf("systemd is told %q, want %q", got, tc.want)
				}
			}
		})
	}
}

func TestWithoutSystemdNothingHappens(t *testing.T) {
	// A watchdog without a socket has nobody to be told.
	n := FromEnv(env(map[string]string{"WATCHDOG_USEC": "1000"}))
	if err := errors.Join(n.Ready(), n.Reloading(), n.Stopping(), n.Status("well")); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := n.Watchdog(ctx, func() error { t.Error("asked without a watchdog"); return nil }); err != context.Canceled {
		t.Errorf("got %v, want the context's error", err)
	}
}

func TestASocketThatIsGoneIsAnError(t *testing.T) {
	n := FromEnv(env(map[string]string{"NOTIFY_SOCKET": filepath.Join(t.TempDir(), "gone")}))
	if err := n.Ready(); !errors.Is(err, os.ErrNotExist) || !strings.HasPrefix(err.Error(), "notify systemd: ") {
		t.Errorf("got %v", err)
	}
}

func TestWatchdogInterval(t *testing.T) {
	own := strconv.Itoa(os.Getpid())
	for _, tc := range []struct {
		usec, pid string
		want      time.Duration
		bad       bool
	}{
		{usec: "", want: 0},
		{usec: "30000000", want: 30 * time.Second},
		{usec: "30000000", pid: own, want: 30 * time.Second},
		{usec: "30000000", pid: "1", want: 0},
		{usec: "soon", bad: true},
		{usec: "0", bad: true},
		{usec: "-5", bad: true},
		{usec: "9223372036854775807", bad: true},
	} {
		n := FromEnv(env(map[string]string{"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": tc.usec, "WATCHDOG_PID": tc.pid}))
		if n.watchdog != tc.want || (n.invalid != nil) != tc.bad {
			t.Errorf("WATCHDOG_USEC=%q WATCHDOG_PID=%q: %s, %v", tc.usec, tc.pid, n.watchdog, n.invalid)
		}
		if tc.bad {
			if err := n.Watchdog(t.Context(), func() error { return nil }); err == nil || !strings.Contains(err.Error(), strconv.Quote(tc.usec)) {
				t.Errorf("got %v, want an error that names %q", err, tc.usec)
			}
		}
	}
}
