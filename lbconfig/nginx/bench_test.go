package nginx_test

import (
	"fmt"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/supervisord/supervisord/lbconfig"
)

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// BenchmarkApply adds and removes a server of one site among many. Besides the
// medians of the whole it reports those of its parts, done by themselves.
func BenchmarkApply(b *testing.B) {
	for _, n := range []int{1, 50} {
		b.Run(fmt.Sprintf("sites=%d", n), func(b *testing.B) {
			p := startNginx(b)
			var sites []lbconfig.Site
			for i := range n {
				sites = append(sites, site(fmt.Sprintf("s%02d", i), "127.0.0.1:1", "127.0.0.1:2"))
			}
			p.serve(sites...)
			a := p.applier()
			two, three := sites[0].Servers, append(slices.Clone(sites[0].Servers), lbconfig.Server{Address: "127.0.0.1:3"})
			var answered, settled, render, test, poll []time.Duration
			for i := 0; b.Loop(); i++ {
				sites[0].Servers = [][]lbconfig.Server{three, two}[i%2]
				cfg := p.config(sites...)
				out, err := a.Apply(b.Context(), cfg)
				if err != nil || !out.Changed {
					b.Fatal(out, err)
				}
				answered, settled = append(answered, out.Answered), append(settled, out.Settled)
				render = append(render, timed(b, func() error { _, err := lbconfig.Render(cfg); return err }))
				test = append(test, timed(b, func() error { return p.host().Test(b.Context(), p.path("nginx.conf")) }))
				// The next one shall not find the master at the end of this.
				time.Sleep(150 * time.Millisecond)
				poll = append(poll, timed(b, func() error { _, err := p.host().Generation(b.Context()); return err }))
			}
			report := func(name string, all []time.Duration, q float64) {
				slices.Sort(all)
				b.ReportMetric(float64(all[int(q*float64(len(all)-1))].Microseconds())/1000, name)
			}
			report("ms-answered-p50", answered, 0.5)
			report("ms-answered-p90", answered, 0.9)
			report("ms-settled-p50", settled, 0.5)
			report("ms-settled-p90", settled, 0.9)
			report("ms-render-p50", render, 0.5)
			report("ms-test-p50", test, 0.5)
			report("ms-poll-p50", poll, 0.5)
			b.ReportMetric(0, "ns/op")
		})
	}
}

func timed(b *testing.B, f func() error) time.Duration {
	b.Helper()
	start := time.Now()
	if err := f(); err != nil {
		b.Fatal(err)
	}
	return time.Since(start)
}
