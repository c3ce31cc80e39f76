package hosts

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
)

// label marks what is ours.
const label = "supervisord-test-hosts"

// network is the hosts' own; its addresses are for tests (RFC 2544).
const (
	network = "supervisord-test-hosts"
	subnet  = "198.18.77.0/24"
	prefix  = "198.18.77."
)

// Fleet is a number of hosts that are up.
type Fleet struct {
	Hosts []*Host
}

// Start boots n hosts, named h1, h2 and so on. Leftovers of an earlier run are
// removed first. The caller must Close the fleet.
func Start(ctx context.Context, n int) (f *Fleet, err error) {
	if err := Clean(ctx); err != nil {
		return nil, err
	}
	image, err := image(ctx)
	if err != nil {
		return nil, fmt.Errorf("image of the hosts: %w", err)
	}
	f = &Fleet{}
	defer func() {
		if err != nil {
			err = errors.Join(err, Clean(context.WithoutCancel(ctx)))
			f = nil
		}
	}()
	if _, err := run(ctx, nil, "docker", "network", "create", "--label", label, "--subnet", subnet, network); err != nil {
		return f, err
	}
	flags, err := flags()
	if err != nil {
		return f, err
	}
	for k := range n {
		h := &Host{Name: fmt.Sprintf("h%d", k+1), IP: fmt.Sprintf("%s%d", prefix, 11+k)}
		args := append([]string{"run", "-d", "--label", label, "--name", h.container(), "--hostname", h.Name, "--network", network, "--ip", h.IP}, flags...)
		if _, err := run(ctx, nil, "docker", append(args, image, "/sbin/init")...); err != nil {
			return f, err
		}
		f.Hosts = append(f.Hosts, h)
	}
	return f, f.each(func(h *Host) error { return h.booted(ctx) })
}

// Close removes the hosts and all that was on them.
func (f *Fleet) Close(ctx context.Context) error { return Clean(ctx) }

// Clean removes everything that carries our label.
func Clean(ctx context.Context) error {
	ids, err := run(ctx, nil, "docker", "ps", "-aq", "--filter", "label="+label)
	if err != nil {
		return err
	}
	if names := strings.Fields(ids); len(names) > 0 {
		if _, err := run(ctx, nil, "docker", append([]string{"rm", "-fv"}, names...)...); err != nil {
			return err
		}
	}
	nets, err := run(ctx, nil, "docker", "network", "ls", "-q", "--filter", "label="+label)
	if err != nil {
		return err
	}
	for _, id := range strings.Fields(nets) {
		if _, err := run(ctx, nil, "docker", "network", "rm", id); err != nil {
			return err
		}
	}
	return nil
}

// each does something on all hosts at once.
func (f *Fleet) each(do func(*Host) error) error {
	errs := make([]error, len(f.Hosts))
	var wg sync.WaitGroup
	for n, h := range f.Hosts {
		wg.Go(func() { errs[n] = do(h) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// capabilities that engine 20.10 knows, by number. A machine in a sandbox may
// lack some, and then --privileged fails; so each that it has is added.
var capabilities = strings.Fields(`chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap
	linux_immutable net_bind_service net_broadcast net_admin net_raw ipc_lock ipc_owner sys_module sys_rawio
	sys_chroot sys_ptrace sys_pacct sys_admin sys_boot sys_nice sys_resource sys_time sys_tty_config mknod lease
	audit_write audit_control setfcap mac_override mac_admin syslog wake_alarm block_suspend audit_read`)

// flags let systemd and an engine run inside a container.
func flags() ([]string, error) {
	f := []string{
		"--tmpfs", "/run", "--tmpfs", "/tmp", "-v", "/var/lib/docker", "-e", "container=docker",
		"--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined", "--cgroupns=host",
	}
	own, err := boundingSet()
	if err != nil {
		return nil, err
	}
	for n, name := range capabilities {
		if own&(1<<n) != 0 {
			f = append(f, "--cap-add", name)
		}
	}
	groups, err := controlGroups()
	return append(f, groups...), err
}

func boundingSet() (set uint64, err error) {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if text, ok := strings.CutPrefix(line, "CapBnd:"); ok {
			_, err = fmt.Sscanf(strings.TrimSpace(text), "%x", &set)
			return set, err
		}
	}
	return 0, errors.New("/proc/self/status names no capabilities")
}

// controlGroups gives a host this machine's control groups, in a directory of
// its own. A controller that this machine has not mounted gets an empty one:
// systemd would mount it, and it would then be in force for the whole machine
// and stay there, where its engine does not expect it.
func controlGroups() ([]string, error) {
	mounts, err := os.ReadFile("/proc/mounts")
	if err != nil {
		return nil, err
	}
	f := []string{"--tmpfs", "/sys/fs/cgroup"}
	mounted := map[string]bool{}
	unified := false
	for line := range strings.Lines(string(mounts)) {
		words := strings.Fields(line)
		if len(words) < 3 || !strings.HasPrefix(words[2], "cgroup") {
			continue
		}
		if words[1] == "/sys/fs/cgroup" {
			unified = true
		}
		mounted[words[1]] = true
		f = append(f, "-v", words[1]+":"+words[1]+":rw")
	}
	if unified {
		return []string{"-v", "/sys/fs/cgroup:/sys/fs/cgroup:rw"}, nil
	}
	for _, name := range []string{"hugetlb", "perf_event", "net_cls,net_prio", "rdma", "misc"} {
		if path := "/sys/fs/cgroup/" + name; !mounted[path] {
			f = append(f, "--tmpfs", path)
		}
	}
	return f, nil
}

// until waits for something to be true; why says what is not.
func until(ctx context.Context, what string, within time.Duration, is func(context.Context) (why string)) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	why := "not looked yet"
	for {
		if why = is(ctx); why == "" {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: after %s still: %s", what, within, why)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
