package sample

import (
	"testing"
	"time"
)

func TestTheHostIsMeasured(t *testing.T) {
	h, err := Host(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for what, ok := range map[string]bool{
		"time":    time.Since(h.At) < time.Minute,
		"CPUs":    h.CPUs >= 1,
		"CPU":     h.CPUBusy > 0 && h.CPUTotal > h.CPUBusy,
		"memory":  h.MemoryUsed > 0 && h.MemoryUsed < h.MemoryTotal,
		"load":    h.Load1 >= 0 && h.Load5 >= 0 && h.Load15 >= 0,
		"disk":    h.DiskTotal > 0 && h.DiskUsed <= h.DiskTotal,
		"uptime":  h.Uptime > 0,
		"process": h.ProcessMemory > 0 && h.ProcessMemory < h.MemoryTotal,
	} {
		if !ok {
			t.Errorf("%s: %+v", what, h)
		}
	}
	if _, err := Host(t.Context(), "/nonexistent"); err == nil {
		t.Error("the disk of a path that is not there: no error")
	}
}

func TestCPUSince(t *testing.T) {
	before := HostStats{CPUBusy: 10, CPUTotal: 100}
	for _, tc := range []struct {
		name   string
		now    HostStats
		before HostStats
		want   float64
	}{
		{"half", HostStats{CPUBusy: 15, CPUTotal: 110}, before, .5},
		{"nothing", HostStats{CPUBusy: 10, CPUTotal: 110}, before, 0},
		{"since boot", before, HostStats{}, .1},
		{"no time has passed", before, before, 0},
		{"counters went back", HostStats{CPUBusy: 9, CPUTotal: 101}, before, 0},
	} {
		if got := tc.now.CPUSince(tc.before); got != tc.want {
			t.Errorf("%s: got %v, want %v", tc.name, got, tc.want)
		}
	}
}
