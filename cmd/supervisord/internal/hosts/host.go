package hosts

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/supervisord/supervisord/supervisor/api"
)

// Host is one of a fleet.
type Host struct {
	Name string
	IP   string
}

func (h *Host) container() string { return "supervisord-test-" + h.Name }

const bootWithin = 90 * time.Second

// booted waits until systemd and the engine are up.
func (h *Host) booted(ctx context.Context) error {
	err := until(ctx, h.Name+" boots", bootWithin, func(ctx context.Context) string {
		state, err := h.Exec(ctx, "systemctl", "is-system-running")
		if err != nil {
			return strings.TrimSpace(state) + " " + err.Error()
		}
		return ""
	})
	if err != nil {
		failed, _ := h.Exec(ctx, "systemctl", "--failed", "--no-legend")
		return fmt.Errorf("%w; failed units: %s", err, failed)
	}
	return until(ctx, h.Name+"'s engine", bootWithin, func(ctx context.Context) string {
		if _, err := h.Exec(ctx, "docker", "version"); err != nil {
			return err.Error()
		}
		return ""
	})
}

// Exec runs a program on the host and returns what it printed.
func (h *Host) Exec(ctx context.Context, argv ...string) (string, error) {
	return run(ctx, nil, "docker", append([]string{"exec", h.container()}, argv...)...)
}

// Feed is Exec with a standard input.
func (h *Host) Feed(ctx context.Context, stdin io.Reader, argv ...string) (string, error) {
	return run(ctx, stdin, "docker", append([]string{"exec", "-i", h.container()}, argv...)...)
}

// Write puts a file onto the host.
func (h *Host) Write(ctx context.Context, path, text string) error {
	_, err := h.Feed(ctx, strings.NewReader(text), "sh", "-c", "mkdir -p $(dirname "+path+") && cat > "+path)
	return err
}

// Copy puts a file of this machine onto the host, whole: a program that runs
// there can be replaced.
func (h *Host) Copy(ctx context.Context, from, to string, mode string) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = h.Feed(ctx, f, "sh", "-c", "cat > "+to+".new && chmod "+mode+" "+to+".new && mv "+to+".new "+to)
	return err
}

// Load gives the host's engine an image that this machine's engine has.
func (h *Host) Load(ctx context.Context, archive string) error {
	f, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = h.Feed(ctx, f, "docker", "load", "-q")
	return err
}

// Kill takes the power from the host.
func (h *Host) Kill(ctx context.Context) error {
	_, err := run(ctx, nil, "docker", "kill", h.container())
	return err
}

// PowerOn boots a host that was killed.
func (h *Host) PowerOn(ctx context.Context) error {
	if _, err := run(ctx, nil, "docker", "start", h.container()); err != nil {
		return err
	}
	return h.booted(ctx)
}

// CutOff takes the host from the network, both ways and without a word: what is
// sent is lost.
func (h *Host) CutOff(ctx context.Context) error { return h.firewall(ctx, "-I") }

// Heal takes a CutOff back.
func (h *Host) Heal(ctx context.Context) error { return h.firewall(ctx, "-D") }

func (h *Host) firewall(ctx context.Context, do string) error {
	_, err := h.Exec(ctx, "sh", "-ec", fmt.Sprintf("iptables %[1]s INPUT -i eth0 -j DROP; iptables %[1]s OUTPUT -o eth0 -j DROP; iptables %[1]s FORWARD -i eth0 -j DROP; iptables %[1]s FORWARD -o eth0 -j DROP", do))
	return err
}

// KillDaemon ends the daemon with -9; systemd starts it again.
func (h *Host) KillDaemon(ctx context.Context) error {
	_, err := h.Exec(ctx, "systemctl", "kill", "-s", "KILL", "supervisord")
	return err
}

// Status is what the host's daemon says.
func (h *Host) Status(ctx context.Context) (s api.Status, err error) {
	text, err := h.Exec(ctx, "supervisord", "status", "--json")
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal([]byte(text), &s)
}

// Journal is the end of the daemon's log.
func (h *Host) Journal(ctx context.Context, lines int) string {
	text, err := h.Exec(ctx, "journalctl", "-u", "supervisord", "--no-pager", "-o", "cat", "-n", fmt.Sprint(lines))
	if err != nil {
		return err.Error()
	}
	return text
}
