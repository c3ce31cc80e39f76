package nginx

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// workersOf lists the workers of a master that accept connections, by their
// process ids. A worker takes its title when it is ready, and another one when
// it is told to finish.
func workersOf(master int) ([]int, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", master, master))
	if err != nil {
		return nil, fmt.Errorf("listing nginx's workers: %w", err)
	}
	var workers []int
	for field := range strings.FieldsSeq(string(text)) {
		if pid, err := strconv.Atoi(field); err == nil && accepts(pid) {
			workers = append(workers, pid)
		}
	}
	return workers, nil
}

func accepts(pid int) bool {
	title, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return err == nil && strings.TrimRight(string(title), "\x00 ") == "nginx: worker process"
}

const (
	// retireWithin is how long new workers are waited for; reading a very
	// large configuration takes a second.
	retireWithin = 3 * time.Second
	retireEvery  = time.Millisecond
)

// retire waits until as many new workers are ready as there are old ones and
// tells the old ones to finish. It says whether it did; if not, the reload may
// still be under way, or have failed, or there are fewer workers now, and the
// master sees to the old ones itself.
func retire(ctx context.Context, master int, old []int) bool {
	limit := time.Now().Add(retireWithin)
	var first time.Time // when the first new worker was ready
	for {
		now, err := workersOf(master)
		fresh := slices.DeleteFunc(now, func(pid int) bool { return slices.Contains(old, pid) })
		if err == nil && len(fresh) >= len(old) {
			break
		}
		if len(fresh) > 0 && first.IsZero() {
			first = time.Now()
		}
		late := !first.IsZero() && time.Since(first) > masterOverlap
		if err != nil || late || !time.Now().Before(limit) || pause(ctx, retireEvery) != nil {
			return false
		}
	}
	for _, pid := range old {
		if !finish(pid) {
			return false
		}
	}
	return true
}

// finish has a worker end with the requests that it has. One that has ended or
// was told already is fine.
func finish(pid int) bool {
	// As with the master: first the handle, then the look.
	worker, err := os.FindProcess(pid)
	if err != nil {
		return false
	}
	defer func() { _ = worker.Release() }()
	return !accepts(pid) || worker.Signal(syscall.SIGQUIT) == nil || !accepts(pid)
}
