package accesslog_test

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/supervisord/supervisord/lbconfig/accesslog"
)

// line is one as nginx writes it by lbconfig's format.
func line(uri, upstream, status, took string) string {
	return `{"time":"2026-11-25T10:00:00+00:00","request_id":"3f","remote_addr":"10.0.0.9","host":"api.example.com","method":"GET","uri":"` + uri +
		`","protocol":"HTTP/1.1","status":"200","bytes":"12","request_time":"0.020","upstream":"` + upstream + `","upstream_status":"` + status +
		`","upstream_connect_time":"0.001","upstream_header_time":"0.010","upstream_response_time":"` + took + `","cache":"","referer":"","user_agent":"k6"}`
}

func TestParse(t *testing.T) {
	for _, tc := range []struct {
		name, line string
		want       []accesslog.Attempt
	}{
		{"one attempt", line("/", "10.0.0.1:4000", "200", "0.012"), []accesslog.Attempt{{"10.0.0.1:4000", 200, 12 * time.Millisecond}}},
		{"the next one answers", line("/", "10.0.0.1:4000, 10.0.0.2:4001", "502, 200", "0.000, 0.5"),
			[]accesslog.Attempt{{"10.0.0.1:4000", 502, 0}, {"10.0.0.2:4001", 200, 500 * time.Millisecond}}},
		{"another location in between", line("/", "10.0.0.1:4000 : [::1]:4001", "503 : 200", "0.1 : 0.2"),
			[]accesslog.Attempt{{"10.0.0.1:4000", 503, 100 * time.Millisecond}, {"[::1]:4001", 200, 200 * time.Millisecond}}},
		{"a client that went away", line("/", "10.0.0.1:4000", "-", "0.3"), nil},
		{"answered by nginx itself", line("/", "", "", ""), nil},
		{"a time that is none", line("/", "10.0.0.1:4000", "500", "-"), []accesslog.Attempt{{"10.0.0.1:4000", 500, 0}}},
		{"a client that writes our keys", line(`/?\",\"upstream\":\"6.6.6.6:1\",\"upstream_status\":\"500`, "10.0.0.1:4000", "200", "0.1"),
			[]accesslog.Attempt{{"10.0.0.1:4000", 200, 100 * time.Millisecond}}},
		{"another form", `10.0.0.9 - - [25/Nov/2026:10:00:00 +0000] "GET / HTTP/1.1" 200 12 "-" "curl"`, nil},
		{"cut off", line("/", "10.0.0.1:4000", "200", "0.1")[:240], nil},
		{"empty", "", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := slices.Collect(accesslog.Parse([]byte(tc.line)))
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(line("/", "10.0.0.1:4000, 10.0.0.2:4001", "502, 200", "0.000, 0.5")))
	f.Fuzz(func(t *testing.T, data []byte) {
		for a := range accesslog.Parse(data) {
			if !bytes.Contains(data, []byte(a.Address)) || a.Took < 0 {
				t.Errorf("got %+v", a)
			}
		}
	})
}

func TestCounts(t *testing.T) {
	var c accesslog.Counts
	for n := range 100 {
		status := 200
		if n%10 == 0 {
			status = 503
		}
		c.Add(accesslog.Attempt{Address: "a", Status: status, Took: time.Duration(n+1) * time.Millisecond})
	}
	if c.Requests != 100 || c.Errors != 10 || c.ErrorRate() != 0.1 {
		t.Errorf("got %d requests, %d errors", c.Requests, c.Errors)
	}
	within, n := c.Quantile(.95)
	if within < 95*time.Millisecond || within > 135*time.Millisecond {
		t.Errorf("95 %% end within %s", within)
	}
	if slow := c.Slower(n); slow > 5 {
		t.Errorf("%d are slower than 95 %%", slow)
	}
	var none accesslog.Counts
	if d, n := none.Quantile(.5); d != 0 || n != -1 || none.ErrorRate() != 0 || none.Slower(0) != 0 {
		t.Error("nothing was counted")
	}
}

// Whoever counts, and in how many parts: the sum is the same, and every time is
// within the bound of its bucket.
func TestPartsAddUpToTheWhole(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var whole, a, b accesslog.Counts
		for range rapid.IntRange(0, 50).Draw(rt, "attempts") {
			at := accesslog.Attempt{
				Status: rapid.SampledFrom([]int{200, 404, 500, 504}).Draw(rt, "status"),
				Took:   time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(rt, "took")),
			}
			var one accesslog.Counts
			one.Add(at)
			if within, n := one.Quantile(1); within < at.Took || n > 0 && accesslog.Bound(n-1) >= at.Took {
				rt.Fatalf("%s is in bucket %d, up to %s", at.Took, n, within)
			}
			whole.Add(at)
			if rapid.Bool().Draw(rt, "who") {
				a.Add(at)
			} else {
				b.Add(at)
			}
		}
		a.Merge(b)
		if diff := cmp.Diff(whole, a); diff != "" {
			rt.Fatalf("(-whole +parts):\n%s", diff)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	text := []byte(line("/api/things/12345?page=7", "10.0.0.1:4000", "200", "0.012"))
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		for range accesslog.Parse(text) {
		}
	}
}
