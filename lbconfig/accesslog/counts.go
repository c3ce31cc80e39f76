package accesslog

import (
	"math"
	"time"
)

// Counts sums up attempts at one instance, or at several. The zero Counts is
// that of none.
type Counts struct {
	Requests uint64 `json:"requests"`
	Errors   uint64 `json:"errors"`
	// Buckets count the attempts by the time they took: bucket n those up to
	// Bound(n), and more than Bound(n-1).
	Buckets []uint64 `json:"buckets,omitempty"`
}

// buckets is how many there are: the last one is without an upper bound.
const buckets = 40

// Bound is the longest time of a bucket: 1 ms and then √2 times the one before,
// up to 12 minutes.
func Bound(n int) time.Duration {
	if n >= buckets-1 {
		return math.MaxInt64
	}
	return time.Duration(float64(time.Millisecond) * math.Pow(math.Sqrt2, float64(n)))
}

// bucket is the one for a time.
func bucket(d time.Duration) int {
	if d <= time.Millisecond {
		return 0
	}
	// Rounded a little down, so that a bound itself is in its own bucket.
	n := int(math.Ceil(2*math.Log2(float64(d)/float64(time.Millisecond)) - 1e-9))
	return min(n, buckets-1)
}

// Add counts one attempt.
func (c *Counts) Add(a Attempt) {
	c.Requests++
	if a.Error() {
		c.Errors++
	}
	if c.Buckets == nil {
		c.Buckets = make([]uint64, buckets)
	}
	c.Buckets[bucket(a.Took)]++
}

// Merge adds what others have counted.
func (c *Counts) Merge(o Counts) {
	c.Requests += o.Requests
	c.Errors += o.Errors
	if len(o.Buckets) == 0 {
		return
	}
	sum := make([]uint64, buckets)
	copy(sum, c.Buckets)
	for n, k := range o.Buckets[:min(len(o.Buckets), buckets)] {
		sum[n] += k
	}
	c.Buckets = sum
}

// ErrorRate is the share of the attempts that went wrong; 0 of none.
func (c Counts) ErrorRate() float64 {
	if c.Requests == 0 {
		return 0
	}
	return float64(c.Errors) / float64(c.Requests)
}

// Timed is how many attempts are in the buckets.
func (c Counts) Timed() (n uint64) {
	for _, k := range c.Buckets {
		n += k
	}
	return n
}

// Quantile is the bound of the bucket in which a share of the attempts has
// ended, and its number; 0 and -1 of none.
func (c Counts) Quantile(share float64) (within time.Duration, n int) {
	all, sum := c.Timed(), uint64(0)
	if all == 0 {
		return 0, -1
	}
	for n, k := range c.Buckets {
		if sum += k; float64(sum) >= share*float64(all) {
			return Bound(n), n
		}
	}
	return Bound(buckets - 1), buckets - 1
}

// Slower is how many attempts took longer than all those of a bucket.
func (c Counts) Slower(than int) (n uint64) {
	for at, k := range c.Buckets {
		if at > than {
			n += k
		}
	}
	return n
}
