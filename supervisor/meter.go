package supervisor

import (
	"context"
	"sync"

	"github.com/supervisord/supervisord/supervisor/api"
	"github.com/supervisord/supervisord/supervisor/sample"
)

// meter measures this machine; its CPU share is that since the call before.
type meter struct {
	disk string
	mu   sync.Mutex
	last sample.HostStats
}

func newMeter(disk string) *meter { return &meter{disk: disk} }

func (m *meter) measure(ctx context.Context) (api.Machine, error) {
	h, err := sample.Host(ctx, m.disk)
	if err != nil {
		return api.Machine{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	share := h.CPUSince(m.last)
	m.last = h
	return api.Machine{
		At: h.At, CPUs: h.CPUs, CPU: share,
		MemoryBytes: h.MemoryTotal, MemoryUsed: h.MemoryUsed,
		Load1: h.Load1, Load5: h.Load5, Load15: h.Load15,
		DiskBytes: h.DiskTotal, DiskUsed: h.DiskUsed,
		Uptime:        uint64(h.Uptime.Seconds()),
		ProcessMemory: h.ProcessMemory, ProcessCPU: h.ProcessCPU,
	}, nil
}
