package autoscale

import (
	"maps"
	"slices"
	"time"
)

// Merge makes the frames of a whole service of those that its hosts have
// recorded of their own instances, oldest first. Every is the positive interval at
// which they were recorded: in each interval the newest frame of each part
// counts, and a part that has none there is stood in for by its last one
// while that is not stale. Counts add up and means are weighted by them, so
// that the result does not depend on the order of the parts and is that of
// Gather over all instances at once.
func Merge(every time.Duration, parts ...[]Frame) []Frame {
	newest := make([]map[int64]Frame, len(parts))
	intervals := map[int64]bool{}
	for n, part := range parts {
		newest[n] = map[int64]Frame{}
		for _, f := range part {
			k := f.At.UnixNano() / int64(every)
			intervals[k] = true
			if was, ok := newest[n][k]; !ok || !f.At.Before(was.At) {
				newest[n][k] = f
			}
		}
	}
	merged := make([]Frame, 0, len(intervals))
	for _, k := range slices.Sorted(maps.Keys(intervals)) {
		var whole Frame
		var cpu, memory, throttled fixed
		for _, part := range newest {
			f, ok := lastOf(part, k)
			if !ok {
				continue
			}
			if _, here := part[k]; here && f.At.After(whole.At) {
				whole.At = f.At
			}
			whole.Counted += f.Counted
			whole.Missing += f.Missing
			whole.Warming += f.Warming
			cpu.add(f.CPU * float64(f.Counted))
			memory.add(f.Memory * float64(f.Counted))
			throttled.add(f.Throttled * float64(f.Counted))
		}
		whole.CPU, whole.Memory, whole.Throttled = cpu.mean(whole.Counted), memory.mean(whole.Counted), throttled.mean(whole.Counted)
		merged = append(merged, whole)
	}
	return merged
}

// lastOf is a part's frame of an interval, or of the last one before it that
// is not stale.
func lastOf(part map[int64]Frame, k int64) (Frame, bool) {
	for back := range int64(staleAfter) {
		if f, ok := part[k-back]; ok {
			return f, true
		}
	}
	return Frame{}, false
}
