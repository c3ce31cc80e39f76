package demo

import (
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestAQuantileIsAtMostAThirtySecondTooHigh(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		us := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) int64 {
			return int64(math.Exp2(rapid.Float64Range(0, 31.5).Draw(t, "log")))
		}), 1, 200).Draw(t, "us")
		q := rapid.Float64Range(0, 1).Draw(t, "q")
		var h histogram
		for _, v := range us {
			h.add(time.Duration(v) * time.Microsecond)
		}
		slices.Sort(us)
		rank := max(int(math.Ceil(q*float64(len(us)))), 1)
		exact := time.Duration(us[rank-1]) * time.Microsecond
		if got := h.quantile(q); got < exact || float64(got) > float64(exact)*(1+1.0/subBuckets) {
			t.Fatalf("quantile %v of %v: %s, exact %s", q, us, got, exact)
		}
	})
}

func TestTheBucketsAreInOrderWithoutAGap(t *testing.T) {
	for b := range buckets - 1 {
		top := upper(b)
		if bucketOf(top) != b || bucketOf(top+time.Microsecond) != b+1 {
			t.Fatalf("bucket %d ends at %s: in %d, after it %d", b, top, bucketOf(top), bucketOf(top+time.Microsecond))
		}
	}
}

func TestExtremesHaveTheirPlace(t *testing.T) {
	var h histogram
	if h.quantile(0.5) != 0 {
		t.Error("an empty histogram has a quantile")
	}
	h.add(-time.Second)
	h.add(1000 * time.Hour)
	if got := h.quantile(0.5); got != 0 {
		t.Errorf("less than nothing is %s", got)
	}
	if got := h.quantile(1); got != 1000*time.Hour {
		t.Errorf("the longest is %s", got)
	}
}
