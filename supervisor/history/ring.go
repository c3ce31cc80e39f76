package history

import (
	"math"
	"time"
)

// Seconds is how many seconds of an instance's use a Ring holds.
const Seconds = 3600

// Point is the use of one instance in one second: the mean of the samples of
// that second.
type Point struct {
	// At is the beginning of the second.
	At time.Time
	// CPU and Memory are shares of the instance's limits, as in
	// autoscale.Sample; they are kept with the seven digits of a float32.
	CPU    float64
	Memory float64
}

// Ring is the last hour of one instance, a slot a second. The zero Ring is
// empty and ready. It takes 28 KiB whatever it holds, and is not safe for
// concurrent use.
type Ring struct {
	// last is the unix second of the newest sample, first the oldest second
	// that the slots speak of. count samples make up the newest slot; 0 means
	// that the ring is empty.
	first, last int64
	count       int
	// A slot of second s is s mod Seconds. NaN in cpu: nothing was measured.
	cpu, memory [Seconds]float32
}

func slot(second int64) int64 { return ((second % Seconds) + Seconds) % Seconds }

// Add takes in one sample. Samples of one second are averaged. A time before
// the newest sample's second means that the clock was set back: what was
// recorded from that second on has not happened yet, and is dropped.
func (r *Ring) Add(at time.Time, cpu, memory float64) {
	now := at.Unix()
	switch {
	case r.count == 0 || now-r.last >= Seconds || now < r.first:
		r.first, r.last, r.count = now, now, 0
	case now < r.last:
		r.last, r.count = now, 0
	case now > r.last:
		for s := r.last + 1; s < now; s++ {
			r.cpu[slot(s)] = float32(math.NaN())
		}
		r.first = max(r.first, now-Seconds+1)
		r.last, r.count = now, 0
	}
	r.count++
	i := slot(now)
	if r.count == 1 {
		r.cpu[i], r.memory[i] = float32(cpu), float32(memory)
		return
	}
	n := float32(r.count)
	r.cpu[i] += (float32(cpu) - r.cpu[i]) / n
	r.memory[i] += (float32(memory) - r.memory[i]) / n
}

// Points returns the seconds from `from` to `to`, both inclusive, oldest
// first. Seconds without a sample are left out. The slice is the caller's.
func (r *Ring) Points(from, to time.Time) []Point {
	if r.count == 0 {
		return nil
	}
	first, last := max(from.Unix(), r.first), min(to.Unix(), r.last)
	if first > last {
		return nil
	}
	points := make([]Point, 0, last-first+1)
	for s := first; s <= last; s++ {
		i := slot(s)
		if cpu := float64(r.cpu[i]); !math.IsNaN(cpu) {
			points = append(points, Point{At: time.Unix(s, 0).UTC(), CPU: cpu, Memory: float64(r.memory[i])})
		}
	}
	return points
}

// Last returns the time of the newest sample's second; zero when empty.
func (r *Ring) Last() time.Time {
	if r.count == 0 {
		return time.Time{}
	}
	return time.Unix(r.last, 0).UTC()
}
