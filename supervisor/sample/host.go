package sample

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/shirou/gopsutil/v3/cpu"
	"github.com/shirou/gopsutil/v3/disk"
	"github.com/shirou/gopsutil/v3/host"
	"github.com/shirou/gopsutil/v3/load"
	"github.com/shirou/gopsutil/v3/mem"
	"github.com/shirou/gopsutil/v3/net"
	"github.com/shirou/gopsutil/v3/process"
)

// HostStats is the use of this machine at one moment. Memory, disk and traffic
// are in bytes.
type HostStats struct {
	At   time.Time
	CPUs float64
	// CPUBusy and CPUTotal are core-seconds since boot; CPUSince makes a share
	// of the differences.
	CPUBusy  float64
	CPUTotal float64
	// MemoryUsed is what could not be given to programs any more: the total
	// without what the kernel calls available.
	MemoryTotal uint64
	MemoryUsed  uint64
	Load1       float64
	Load5       float64
	Load15      float64
	// DiskTotal and DiskUsed are of the file system that holds a path.
	DiskTotal uint64
	DiskUsed  uint64
	Uptime    time.Duration
	// Received and Sent are since boot, over the interfaces to the outside:
	// without the loopback and those of containers.
	Received uint64
	Sent     uint64
	// ProcessMemory is this process' resident memory, ProcessCPU the seconds
	// of CPU since its start.
	ProcessMemory uint64
	ProcessCPU    float64
}

// CPUSince is the share of all cores in use since an earlier look, 0 to 1; the
// mean since boot where the earlier look is the zero value.
func (h HostStats) CPUSince(before HostStats) float64 {
	total := h.CPUTotal - before.CPUTotal
	if total <= 0 {
		return 0
	}
	return min(1, max(0, (h.CPUBusy-before.CPUBusy)/total))
}

// Host measures this machine. disk is a path on the file system of interest.
func Host(ctx context.Context, path string) (HostStats, error) {
	h := HostStats{At: time.Now()}
	for _, part := range []struct {
		what string
		read func(context.Context) error
	}{
		{"CPU", h.readCPU}, {"memory", h.readMemory}, {"load", h.readLoad},
		{"disk of " + path, func(ctx context.Context) error { return h.readDisk(ctx, path) }},
		{"uptime", h.readUptime}, {"network", h.readNetwork}, {"own process", h.readProcess},
	} {
		if err := part.read(ctx); err != nil {
			return HostStats{}, fmt.Errorf("measure the host's %s: %w", part.what, err)
		}
	}
	return h, nil
}

func (h *HostStats) readCPU(ctx context.Context) error {
	n, err := cpu.CountsWithContext(ctx, true)
	if err != nil {
		return err
	}
	times, err := cpu.TimesWithContext(ctx, false)
	if err != nil {
		return err
	}
	if len(times) != 1 {
		return fmt.Errorf("%d lines of totals", len(times))
	}
	// User and nice time already contain that of guests.
	t := times[0]
	h.CPUs = float64(n)
	h.CPUBusy = t.User + t.System + t.Nice + t.Irq + t.Softirq + t.Steal
	h.CPUTotal = h.CPUBusy + t.Idle + t.Iowait
	return nil
}

func (h *HostStats) readMemory(ctx context.Context) error {
	m, err := mem.VirtualMemoryWithContext(ctx)
	if err != nil {
		return err
	}
	h.MemoryTotal, h.MemoryUsed = m.Total, m.Total-min(m.Available, m.Total)
	return nil
}

func (h *HostStats) readLoad(ctx context.Context) error {
	l, err := load.AvgWithContext(ctx)
	if err != nil {
		return err
	}
	h.Load1, h.Load5, h.Load15 = l.Load1, l.Load5, l.Load15
	return nil
}

func (h *HostStats) readDisk(ctx context.Context, path string) error {
	d, err := disk.UsageWithContext(ctx, path)
	if err != nil {
		return err
	}
	h.DiskTotal, h.DiskUsed = d.Total, d.Used
	return nil
}

func (h *HostStats) readUptime(ctx context.Context) error {
	seconds, err := host.UptimeWithContext(ctx)
	h.Uptime = time.Duration(seconds) * time.Second
	return err
}

// inside are the names of interfaces whose traffic stays on the host, or is
// counted once more on another.
var inside = []string{"veth", "docker", "br-"}

func (h *HostStats) readNetwork(ctx context.Context) error {
	counters, err := net.IOCountersWithContext(ctx, true)
	if err != nil {
		return err
	}
next:
	for _, c := range counters {
		if c.Name == "lo" {
			continue
		}
		for _, prefix := range inside {
			if strings.HasPrefix(c.Name, prefix) {
				continue next
			}
		}
		h.Received += c.BytesRecv
		h.Sent += c.BytesSent
	}
	return nil
}

func (h *HostStats) readProcess(ctx context.Context) error {
	p, err := process.NewProcessWithContext(ctx, int32(os.Getpid()))
	if err != nil {
		return err
	}
	m, err := p.MemoryInfoWithContext(ctx)
	if err != nil {
		return err
	}
	t, err := p.TimesWithContext(ctx)
	if err != nil {
		return err
	}
	h.ProcessMemory, h.ProcessCPU = m.RSS, t.User+t.System
	return nil
}
