package systemd

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestWatchdogIsFedByProgressOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []string
		start := time.Now()
		n := &Notifier{watchdog: 30 * time.Second, send: func(m string) error {
			told = append(told, time.Since(start).String()+" "+m)
			return nil
		}}
		if err := n.Status("2 services"); err != nil {
			t.Fatal(err)
		}
		alive := func() error {
			if at := time.Since(start); at > 20*time.Second && at < 50*time.Second {
				return errors.New("the last round was\n25s ago")
			}
			return nil
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- n.Watchdog(ctx, alive) }()
		time.Sleep(80 * time.Second)
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want the context's error", err)
		}
		want := []string{
			"0s STATUS=2 services",
			"0s WATCHDOG=1",
			"15s WATCHDOG=1",
			"30s STATUS=no progress: the last round was 25s ago",
			"45s STATUS=no progress: the last round was 25s ago",
			"1m0s WATCHDOG=1\nSTATUS=2 services",
			"1m15s WATCHDOG=1",
		}
		if !slices.Equal(told, want) {
			t.Errorf("systemd was told\n%q, want\n%q", told, want)
		}
	})
}

func TestWatchdogOutlivesASignThatIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		full := errors.New("no buffer space available")
		signs := 0
		n := &Notifier{watchdog: 2 * time.Second, send: func(string) error {
			if signs++; signs == 2 || signs == 5 {
				return full
			}
			return nil
		}}
		for _, tc := range []struct {
			until time.Duration
			lost  bool
		}{{3500 * time.Millisecond, false}, {500 * time.Millisecond, true}} {
			ctx, cancel := context.WithTimeout(t.Context(), tc.until)
			err := n.Watchdog(ctx, func() error { return nil })
			cancel()
			if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, full) != tc.lost {
				t.Errorf("got %v, the last sign lost: want %t", err, tc.lost)
			}
		}
		if signs != 5 {
			t.Errorf("%d signs, want 5", signs)
		}
	})
}

func TestWatchdogReachesTheSocket(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "notify")
	next := manager(t, socket)
	n := FromEnv(env(map[string]string{"NOTIFY_SOCKET": socket, "WATCHDOG_USEC": "2000"}))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- n.Watchdog(ctx, func() error { return nil }) }()
	for range 3 {
		if got := next(); got != "WATCHDOG=1" {
			t.Errorf("systemd is told %q", got)
		}
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
