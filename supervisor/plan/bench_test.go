package plan_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/supervisord/supervisord/autoscale"
	"github.com/supervisord/supervisord/supervisor/plan"
	"github.com/supervisord/supervisord/supervisor/state"
)

// fleet is a cluster at rest: every service has its instances, spread over the
// hosts, all ready.
func fleet(b *testing.B, hosts, services, each int) *world {
	b.Helper()
	var all []state.Service
	for n := range services {
		s := web("v1", each)
		s.Name = fmt.Sprintf("web%03d", n)
		s.Container.Resources = state.Resources{CPULimit: 0.5, MemoryLimit: 256 << 20}
		all = append(all, s)
	}
	w := newWorld(b, all...)
	for n := range hosts {
		name := fmt.Sprintf("h%03d", n)
		w.must(state.RegisterHost{Name: name, Address: name, CPUs: 64, Memory: 256 << 30, Format: state.Format})
	}
	w.must(state.RemoveHost{Name: "a", Force: true})
	for n, s := range all {
		var place, ready []state.Command
		for i := range each {
			place = append(place, state.Place{Service: s.Name, Slot: i + 1, Host: fmt.Sprintf("h%03d", (n*each+i)%hosts), Revision: "v1"})
			id := fmt.Sprintf("%s-%d.%d", s.Name, i+1, w.Index+1)
			ready = append(ready, state.Observe{ID: id, Phase: state.Ready, Container: id})
		}
		w.must(place...)
		w.must(ready...)
	}
	return w
}

// BenchmarkRound is one round of planning. At rest it finds nothing to do; with
// a host lost it replaces what that had. Ten times the instances on ten times
// the hosts should take about ten times as long.
func BenchmarkRound(b *testing.B) {
	for _, size := range []struct{ hosts, services, each int }{{3, 4, 10}, {10, 20, 50}, {100, 100, 100}} {
		name := fmt.Sprintf("hosts=%d/instances=%d", size.hosts, size.services*size.each)
		w := fleet(b, size.hosts, size.services, size.each)
		view := func() plan.View {
			return plan.View{Now: w.now, Cluster: w.Cluster, Frames: func(string) []autoscale.Frame { return nil }}
		}
		b.Run(name+"/at rest", func(b *testing.B) {
			for b.Loop() {
				if r := plan.Round(view()); len(r.Steps) != 0 {
					b.Fatalf("%d steps at rest: %+v", len(r.Steps), r.Steps[0])
				}
			}
		})
		b.Run(name+"/host lost", func(b *testing.B) {
			before := w.Cluster
			w.must(state.LoseHost{Name: "h001"})
			for b.Loop() {
				if r := plan.Round(view()); len(r.Steps) == 0 {
					b.Fatal("nothing is replaced")
				}
			}
			w.Cluster = before
		})
	}
}

// BenchmarkSnapshot writes and reads the state of 100 hosts with 10,000
// instances.
func BenchmarkSnapshot(b *testing.B) {
	w := fleet(b, 100, 100, 100)
	var snapshot bytes.Buffer
	b.Run("write", func(b *testing.B) {
		for b.Loop() {
			snapshot.Reset()
			if _, err := w.WriteTo(&snapshot); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(snapshot.Len())/(1<<20), "MiB")
	})
	b.Run("read", func(b *testing.B) {
		for b.Loop() {
			if _, err := state.Read(bytes.NewReader(snapshot.Bytes())); err != nil {
				b.Fatal(err)
			}
		}
	})
}
