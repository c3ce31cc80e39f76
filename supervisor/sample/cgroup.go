package sample

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// group is the control group of one container, with its files open. Fields of
// files that may be absent are nil then.
type group struct {
	// v1: cpuacct.usage, cpu.cfs_quota_us, cpu.cfs_period_us;
	// v2: nil, cpu.max, nil.
	usage, quota, period *file
	// cpu.stat; in v2 it has the usage as well.
	cpu *file
	// memory.usage_in_bytes or memory.current, and so on.
	memory, stat, limit *file
}

func (g *group) files() []*file {
	return []*file{g.usage, g.quota, g.period, g.cpu, g.memory, g.stat, g.limit}
}

func (g *group) close() {
	for _, f := range g.files() {
		if f != nil {
			f.close()
		}
	}
}

// open finds the control group of a container's process and opens its files.
func (s *Sampler) open(t Target) (_ *group, err error) {
	if t.PID <= 0 || t.Container == "" {
		return nil, errors.New("its process is not known yet")
	}
	text, err := os.ReadFile(filepath.Join(s.proc, strconv.Itoa(t.PID), "cgroup"))
	if err != nil {
		return nil, err
	}
	g := &group{}
	defer func() {
		if err != nil {
			g.close()
		}
	}()
	m := memberships(string(text))
	if memory, ok := m["memory"]; ok {
		return g, s.openV1(g, t, m, memory)
	}
	unified, ok := m[""]
	if !ok {
		return nil, fmt.Errorf("process %d is in no control group", t.PID)
	}
	dir, err := locate(s.cgroup, unified.path, t.Container)
	if err != nil {
		return nil, err
	}
	return g, errors.Join(
		open(&g.cpu, dir, "cpu.stat"), optional(open(&g.quota, dir, "cpu.max")),
		open(&g.memory, dir, "memory.current"), open(&g.stat, dir, "memory.stat"), optional(open(&g.limit, dir, "memory.max")))
}

func (s *Sampler) openV1(g *group, t Target, m map[string]membership, memory membership) error {
	cpuDir, err := s.locateV1("cpu", m["cpu"], t.Container)
	if err != nil {
		return err
	}
	acctDir, err := s.locateV1("cpuacct", m["cpuacct"], t.Container)
	if err != nil {
		return err
	}
	memoryDir, err := s.locateV1("memory", memory, t.Container)
	if err != nil {
		return err
	}
	return errors.Join(
		open(&g.usage, acctDir, "cpuacct.usage"), open(&g.cpu, cpuDir, "cpu.stat"),
		optional(open(&g.quota, cpuDir, "cpu.cfs_quota_us")), optional(open(&g.period, cpuDir, "cpu.cfs_period_us")),
		open(&g.memory, memoryDir, "memory.usage_in_bytes"), open(&g.stat, memoryDir, "memory.stat"),
		optional(open(&g.limit, memoryDir, "memory.limit_in_bytes")))
}

// membership is one line of /proc/PID/cgroup.
type membership struct{ controllers, path string }

// memberships reads /proc/PID/cgroup, "4:cpu,cpuacct:/docker/ab…" a line, by
// controller; the unified hierarchy's is "".
func memberships(text string) map[string]membership {
	m := map[string]membership{}
	for line := range strings.Lines(text) {
		_, rest, _ := strings.Cut(strings.TrimRight(line, "\n"), ":")
		controllers, path, ok := strings.Cut(rest, ":")
		if !ok {
			continue
		}
		for controller := range strings.SplitSeq(controllers, ",") {
			m[controller] = membership{controllers, path}
		}
	}
	return m
}

// locateV1 finds a group in a controller's hierarchy, which is mounted under
// the names of all controllers that share it, or under its own.
func (s *Sampler) locateV1(controller string, m membership, id string) (string, error) {
	if m.controllers == "" {
		return "", fmt.Errorf("its process is in no control group of %s", controller)
	}
	dir, err := locate(filepath.Join(s.cgroup, m.controllers), m.path, id)
	if errors.Is(err, fs.ErrNotExist) && m.controllers != controller {
		return locate(filepath.Join(s.cgroup, controller), m.path, id)
	}
	return dir, err
}

// locate finds the directory of a container's group below a mount. The path is
// cut behind the container's own part ("<id>" of cgroupfs, "docker-<id>.scope"
// of systemd): processes may have moved to groups further inside. A path
// without that part is another group, of a process that took over the number.
//
// Inside a container the mount may begin further down than the path, so its
// parts are left out from the left until there is such a directory.
func locate(mount, path, id string) (string, error) {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	own := slices.IndexFunc(parts, func(p string) bool { return strings.Contains(p, id) })
	if own < 0 {
		return "", fmt.Errorf("its process is in the control group %s, which is not container %.12s's", path, id)
	}
	for first := range own + 1 {
		dir := filepath.Join(mount, filepath.Join(parts[first:own+1]...))
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			return dir, nil
		}
	}
	return "", fmt.Errorf("control group %s below %s: %w", path, mount, fs.ErrNotExist)
}

func open(f **file, dir, name string) (err error) {
	*f, err = openFile(filepath.Join(dir, name))
	return err
}

// optional lets a file be absent: there is no limit where it would be written.
func optional(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// readGroup reads all figures of a group.
func (s *Sampler) readGroup(g *group, now time.Time) (figures, error) {
	r := reader{buffer: s.buffer}
	f := figures{clock: s.clock(), at: now}
	f.At = f.clock
	stat := r.text(g.cpu)
	f.Periods, f.Throttled = r.field(stat, g.cpu, "nr_periods", false), r.field(stat, g.cpu, "nr_throttled", false)
	if g.usage != nil {
		f.CPU = time.Duration(r.number(g.usage))
		f.cpuLimit = ratio(r.number(g.quota), r.number(g.period))
	} else {
		f.CPU = time.Duration(r.field(stat, g.cpu, "usage_usec", true)) * time.Microsecond
		quota, period, _ := bytes.Cut(r.text(g.quota), []byte(" "))
		f.cpuLimit = ratio(digits(quota), digits(period))
	}
	f.Memory = r.number(g.memory)
	name := "inactive_file"
	if g.usage != nil {
		name = "total_inactive_file"
	}
	f.Memory -= min(f.Memory, r.field(r.text(g.stat), g.stat, name, true))
	f.MemoryLimit = r.number(g.limit)
	s.buffer = r.buffer
	return f, r.err
}

// ratio is a quota in cores; 0 for none.
func ratio(quota, period uint64) float64 {
	if period == 0 {
		return 0
	}
	return float64(quota) / float64(period)
}
