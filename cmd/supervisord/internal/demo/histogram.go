package demo

import (
	"math/bits"
	"time"
)

// The histogram's buckets: each power of two of microseconds is cut into 32,
// so that a quantile is at most 1/32 (3 %) too high, as in HdrHistogram
// (http://hdrhistogram.org). The last bucket is above an hour.
const (
	subBits    = 5
	subBuckets = 1 << subBits
	buckets    = 28 * subBuckets
)

// histogram counts durations. The zero value is empty.
type histogram struct {
	counts [buckets]uint64
	n      uint64
	max    time.Duration
}

func (h *histogram) add(d time.Duration) {
	h.counts[bucketOf(d)]++
	h.n++
	h.max = max(h.max, d)
}

func bucketOf(d time.Duration) int {
	us := uint64(max(d, 0) / time.Microsecond)
	if us < 2*subBuckets {
		return int(us)
	}
	shift := bits.Len64(us) - subBits - 1
	return min(shift*subBuckets+int(us>>shift), buckets-1)
}

// upper is the longest duration of a bucket, to the microsecond.
func upper(bucket int) time.Duration {
	if bucket < 2*subBuckets {
		return time.Duration(bucket) * time.Microsecond
	}
	shift := bucket/subBuckets - 1
	us := uint64(bucket-shift*subBuckets+1)<<shift - 1
	return time.Duration(us) * time.Microsecond
}

// quantile is the duration that a share q of all does not exceed; 0 when there
// are none.
func (h *histogram) quantile(q float64) time.Duration {
	if h.n == 0 {
		return 0
	}
	rank := uint64(q * float64(h.n))
	if float64(rank) < q*float64(h.n) {
		rank++
	}
	rank = max(rank, 1)
	var seen uint64
	for b, count := range h.counts {
		if seen += count; seen >= rank && b < buckets-1 {
			return min(upper(b), h.max)
		}
	}
	return h.max
}

// quantiles are the usual ones.
func (h *histogram) quantiles() Quantiles {
	return Quantiles{
		P50: h.quantile(0.5), P90: h.quantile(0.9), P99: h.quantile(0.99), P999: h.quantile(0.999), Max: h.max,
	}
}
