package nginx

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// Process is a running nginx, as an Applier needs it. Calls come one at a
// time, may be repeated, and end with their context.
type Process interface {
	// Test has nginx read a main file and all that it includes. The error is
	// a *ConfigError where nginx refuses them, and anything else where nginx
	// could not be asked. What is live stays untouched.
	Test(ctx context.Context, conf string) error
	// Reload tells nginx to read its main file again, without knowing what
	// comes of it. The overlap is how long workers of the old generation may
	// go on accepting connections after the new one answers. The error wraps
	// ErrNotRunning where there is no nginx.
	Reload(ctx context.Context) (overlap time.Duration, err error)
	// Version is that of the nginx that runs, as it prints it itself:
	// "nginx version: nginx/1.22.1".
	Version(ctx context.Context) (string, error)
	// Generation asks on a connection of its own which generation answers.
	Generation(ctx context.Context) (uint64, error)
}

// masterOverlap is how long nginx's master lets old workers accept connections
// after it has started new ones (ngx_master_process_cycle, "allow new processes
// to start").
const masterOverlap = 100 * time.Millisecond

// Errors that Apply wraps, for callers to branch on.
var (
	// ErrNotRunning: there is no nginx to reload. The files are in place, and
	// it will serve them once it is started.
	ErrNotRunning = errors.New("nginx is not running")
	// ErrNoInclude: the main file does not include what is written.
	ErrNoInclude = errors.New("nginx's main file does not include the sites")
	// ErrNotServed: nginx was told to reload and goes on with what it had.
	ErrNotServed = errors.New("nginx does not serve the new configuration")
)

// ConfigError is a configuration that nginx refuses.
type ConfigError struct {
	// Reason is nginx's own message, such as
	// `unknown directive "x" in /etc/nginx/nginx.conf:12`.
	Reason string
}

func (e *ConfigError) Error() string { return "nginx refuses the configuration: " + e.Reason }

// message finds what nginx complains about, in the form of its log and in that
// of its terminal.
var message = regexp.MustCompile(`(?m)\[(?:emerg|alert|crit|error)\] (?:\d+#\d+: )?(.+)$`)

// testArgs is how nginx is asked to test a main file.
func testArgs(conf string) []string {
	// Without -e, nginx first opens the log that it was built with, which
	// others than root may not.
	return []string{"-t", "-q", "-e", "stderr", "-c", conf}
}

// testResult makes an error of what a test has printed.
func testResult(output []byte, exitCode int) error {
	if exitCode == 0 {
		return nil
	}
	if m := message.FindSubmatch(output); m != nil {
		return &ConfigError{Reason: strings.TrimSpace(string(m[1]))}
	}
	if exitCode == 1 {
		return &ConfigError{Reason: strings.TrimSpace(string(output))}
	}
	return fmt.Errorf("nginx -t ended with status %d: %.500s", exitCode, output)
}
