package sample

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/supervisord/supervisord/autoscale"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// layout is how an engine on a kind of host places its containers.
type layout struct {
	name string
	v1   bool
	// cgroup is the text of /proc/PID/cgroup, dirs where the group's files of
	// cpu, cpuacct and memory (v1) or all (v2) are; %s is the container's id.
	cgroup string
	dirs   []string
}

var layouts = []layout{
	{"v1, cgroupfs, shared hierarchy", true,
		"12:pids:/docker/%s\n4:cpu,cpuacct:/docker/%s\n3:memory:/docker/%s\n1:name=systemd:/docker/%s\n0::/system.slice/containerd.service\n",
		[]string{"cpu,cpuacct/docker/%s", "cpu,cpuacct/docker/%s", "memory/docker/%s"}},
	{"v1, cgroupfs, own hierarchies", true,
		"4:memory:/docker/%s\n2:cpuacct:/docker/%s\n1:cpu:/docker/%s\n0::/\n",
		[]string{"cpu/docker/%s", "cpuacct/docker/%s", "memory/docker/%s"}},
	{"v1, mounted under the short names", true,
		"4:cpuacct,cpu:/docker/%s\n3:memory:/docker/%s\n",
		[]string{"cpu/docker/%s", "cpuacct/docker/%s", "memory/docker/%s"}},
	{"v1, systemd", true,
		"4:cpu,cpuacct:/system.slice/docker-%s.scope\n3:memory:/system.slice/docker-%s.scope\n",
		[]string{"cpu,cpuacct/system.slice/docker-%s.scope", "cpu,cpuacct/system.slice/docker-%s.scope", "memory/system.slice/docker-%s.scope"}},
	{"v2, systemd", false, "0::/system.slice/docker-%s.scope\n", []string{"system.slice/docker-%s.scope"}},
	{"v2, cgroupfs", false, "0::/docker/%s\n", []string{"docker/%s"}},
	{"v2, its processes in a group further inside", false, "0::/system.slice/docker-%s.scope/init.scope\n", []string{"system.slice/docker-%s.scope"}},
	{"v2, a parent of the operator's", false, "0::/shop.slice/shop-web.slice/docker-%s.scope\n", []string{"shop.slice/shop-web.slice/docker-%s.scope"}},
	{"v1, inside of a container that sees its own part", true,
		"4:cpu,cpuacct:/docker/outer/docker/%s\n3:memory:/docker/outer/docker/%s\n",
		[]string{"cpu,cpuacct/docker/%s", "cpu,cpuacct/docker/%s", "memory/docker/%s"}},
}

// fixture is a tree of the kernel's files.
type fixture struct {
	t testing.TB
	layout
	root string
}

// counters are what a container's files say.
type counters struct {
	cpu                time.Duration
	periods, throttled int
	memory, inactive   int
	// quota in µs of a period of 100 ms, and the memory limit; 0 for none.
	quota, limit int
}

func newFixture(t testing.TB, l layout) *fixture {
	return &fixture{t: t, layout: l, root: t.TempDir()}
}

func (f *fixture) sampler(o Options) (*Sampler, *time.Time) {
	f.t.Helper()
	o.Proc, o.Cgroup = filepath.Join(f.root, "proc"), filepath.Join(f.root, "cgroup")
	o.HostCPUs, o.HostMemory = 4, 1<<30
	s, err := New(o)
	if err != nil {
		f.t.Fatal(err)
	}
	now := start
	s.clock = func() time.Time { return now }
	f.t.Cleanup(func() {
		if err := s.Close(); err != nil {
			f.t.Error(err)
		}
	})
	return s, &now
}

func id(n int) string { return fmt.Sprintf("%064x", 0xabc0000+n) }

func target(n int) Target {
	return Target{Instance: fmt.Sprintf("web-%d.1", n), Container: id(n), PID: 100 + n}
}

func (f *fixture) write(path, text string) {
	f.t.Helper()
	path = filepath.Join(f.root, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		f.t.Fatal(err)
	}
	// In place: the sampler keeps the files open.
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

func fill(text, id string) string { return strings.ReplaceAll(text, "%s", id) }

func (f *fixture) set(n int, c counters) {
	f.write(fmt.Sprintf("proc/%d/cgroup", 100+n), fill(f.cgroup, id(n)))
	dir := func(i int) string { return filepath.Join("cgroup", fill(f.dirs[i], id(n))) }
	if !f.v1 {
		quota, limit := "max", "max"
		if c.quota > 0 {
			quota = fmt.Sprint(c.quota)
		}
		if c.limit > 0 {
			limit = fmt.Sprint(c.limit)
		}
		f.write(dir(0)+"/cpu.stat", fmt.Sprintf("usage_usec %d\nuser_usec 1\nsystem_usec 1\nnr_periods %d\nnr_throttled %d\nthrottled_usec 9\n", c.cpu.Microseconds(), c.periods, c.throttled))
		f.write(dir(0)+"/cpu.max", quota+" 100000\n")
		f.write(dir(0)+"/memory.current", fmt.Sprintln(c.memory))
		f.write(dir(0)+"/memory.stat", fmt.Sprintf("anon 1\nfile 2\nactive_file 7\ninactive_file %d\nslab 3\n", c.inactive))
		f.write(dir(0)+"/memory.max", limit+"\n")
		return
	}
	quota, limit := -1, 9223372036854771712
	if c.quota > 0 {
		quota = c.quota
	}
	if c.limit > 0 {
		limit = c.limit
	}
	f.write(dir(0)+"/cpu.stat", fmt.Sprintf("nr_periods %d\nnr_throttled %d\nthrottled_time 9\n", c.periods, c.throttled))
	f.write(dir(0)+"/cpu.cfs_quota_us", fmt.Sprintln(quota))
	f.write(dir(0)+"/cpu.cfs_period_us", "100000\n")
	f.write(dir(1)+"/cpuacct.usage", fmt.Sprintln(c.cpu.Nanoseconds()))
	f.write(dir(2)+"/memory.usage_in_bytes", fmt.Sprintln(c.memory))
	f.write(dir(2)+"/memory.stat", fmt.Sprintf("cache 1\nrss 2\ninactive_file 5\ntotal_cache 1\ntotal_inactive_file %d\n", c.inactive))
	f.write(dir(2)+"/memory.limit_in_bytes", fmt.Sprintln(limit))
}

// remove takes a container's files away.
func (f *fixture) remove(n int) {
	f.t.Helper()
	for _, dir := range f.dirs {
		if err := os.RemoveAll(filepath.Join(f.root, "cgroup", fill(dir, id(n)))); err != nil {
			f.t.Fatal(err)
		}
	}
}

// one samples a single target and fails on an error; false for no sample.
func one(t *testing.T, s *Sampler, now time.Time, target Target) (autoscale.Sample, bool) {
	t.Helper()
	got, err := s.Sample(t.Context(), now, []Target{target})
	if err != nil {
		t.Fatal(err)
	}
	if len(got) == 0 {
		return autoscale.Sample{}, false
	}
	return got[0], true
}
