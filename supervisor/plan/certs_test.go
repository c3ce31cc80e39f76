package plan_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/supervisord/supervisord/lbconfig"
	"github.com/supervisord/supervisord/supervisor/plan"
	"github.com/supervisord/supervisord/supervisor/state"
)

const testCA = "https://ca.test/directory"

// certified is a cluster whose file has hosts with TLS.
func certified(hosts ...string) state.Cluster {
	c := state.New()
	c.Spec.TLS = &state.TLS{Email: "ops@example.com", CA: testCA, OrdersPerDay: 10}
	c.Spec.Services = map[string]state.Service{
		"web": {Name: "web", Ingress: &lbconfig.Ingress{Hosts: hosts, Port: 80, TLS: lbconfig.TLSAuto}},
		"own": {Name: "own", Ingress: &lbconfig.Ingress{Hosts: []string{"own.test"}, Port: 80, TLS: lbconfig.TLSManual}},
	}
	return c
}

// came says when the file in force came.
func came(c *state.Cluster, at time.Time) {
	c.Releases = c.Releases.Put(state.ReleaseKey(c.Spec.Revision), state.Release{Revision: c.Spec.Revision, At: at})
}

func TestRenewalLeavesTimeForItself(t *testing.T) {
	born := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	cert := state.Certificate{NotBefore: born, NotAfter: born.Add(100 * time.Hour), RenewAt: born.Add(66 * time.Hour)}
	for wanted, want := range map[time.Duration]time.Duration{
		-time.Hour: -time.Hour, 50 * time.Hour: 50 * time.Hour, 90 * time.Hour: 90 * time.Hour,
		91 * time.Hour: 90 * time.Hour, 100 * time.Hour: 90 * time.Hour, 101 * time.Hour: 66 * time.Hour,
	} {
		if got := plan.Renewal(cert, born.Add(wanted)).Sub(born); got != want {
			t.Errorf("wanted after %s: %s, want %s", wanted, got, want)
		}
	}
	if got := plan.Renewal(cert, time.Time{}); got != cert.RenewAt {
		t.Errorf("a CA that says nothing: %s", got)
	}
}

func TestCertificates(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	day := 24 * time.Hour
	cert := func(c *state.Cluster, name string, renewAt, notAfter time.Duration) {
		c.Certificates = c.Certificates.Put(name, state.Certificate{Name: name, CA: testCA, RenewAt: now.Add(renewAt), NotAfter: now.Add(notAfter)})
	}
	failed := func(c *state.Cluster, name string, n int, next time.Duration) {
		c.CertOrders = c.CertOrders.Put(name, state.CertOrder{Name: name, Failures: n, Next: now.Add(next)})
	}
	ordered := func(c *state.Cluster, n int, ago time.Duration) {
		for range n {
			c.CertOrderTimes = append(c.CertOrderTimes, now.Add(-ago))
		}
	}
	for name, tc := range map[string]struct {
		hosts  []string
		change func(*state.Cluster)
		// want are names with a reason; next is from now, 0 for never.
		want string
		next time.Duration
	}{
		"nothing to do without x-supervisor.tls": {[]string{"a.test"}, func(c *state.Cluster) { c.Spec.TLS = nil }, "", 0},
		"a new name":                             {[]string{"A.test"}, nil, "a.test (it has none)", 0},
		"a name of a new file waits for nginx":   {[]string{"a.test"}, func(c *state.Cluster) { came(c, now.Add(-time.Second)) }, "", 2 * time.Second},
		"not for long":                           {[]string{"a.test"}, func(c *state.Cluster) { came(c, now.Add(-3*time.Second)) }, "a.test (it has none)", 0},
		"nor does a renewal": {[]string{"a.test"}, func(c *state.Cluster) {
			came(c, now)
			cert(c, "a.test", -time.Second, 30*day)
		}, "renew a.test (it is to be renewed)", 0},
		"a good certificate waits": {[]string{"a.test"}, func(c *state.Cluster) { cert(c, "a.test", 5*day, 30*day) }, "",
			5 * day},
		"two thirds are over":       {[]string{"a.test"}, func(c *state.Cluster) { cert(c, "a.test", -time.Second, 30*day) }, "renew a.test (it is to be renewed)", 0},
		"an expired one":            {[]string{"a.test"}, func(c *state.Cluster) { cert(c, "a.test", -31*day, -day) }, "renew a.test (it is to be renewed)", 0},
		"a failure is waited out":   {[]string{"a.test"}, func(c *state.Cluster) { failed(c, "a.test", 3, time.Hour) }, "", time.Hour},
		"a pause that is over":      {[]string{"a.test"}, func(c *state.Cluster) { failed(c, "a.test", 3, 0) }, "a.test (it has none)", 0},
		"a renewal that failed":     {[]string{"a.test"}, func(c *state.Cluster) { cert(c, "a.test", -day, 29*day); failed(c, "a.test", 1, time.Minute) }, "", time.Minute},
		"an operator does not wait": {[]string{"a.test"}, func(c *state.Cluster) { demand(c, "a.test", now.Add(time.Hour)) }, "a.test (an operator demands it)", 0},
		"nor for a good one":        {[]string{"a.test"}, func(c *state.Cluster) { cert(c, "a.test", 5*day, 30*day); demand(c, "a.test", now) }, "renew a.test (an operator demands it)", 0},
		// A demand is taken away when its order begins, and must not be lost with it.
		"an order that nobody has finished": {[]string{"a.test"}, func(c *state.Cluster) {
			cert(c, "a.test", 5*day, 30*day)
			c.CertOrders = c.CertOrders.Put("a.test", state.CertOrder{Name: "a.test", Began: now.Add(-time.Minute), Host: "dead"})
		}, "renew a.test (its last order was left unfinished)", 0},
		"an order that has ended": {[]string{"a.test"}, func(c *state.Cluster) {
			cert(c, "a.test", 5*day, 30*day)
			c.CertOrders = c.CertOrders.Put("a.test", state.CertOrder{Name: "a.test", Began: now.Add(-time.Minute), Ended: now, Host: "a"})
		}, "", 5 * day},
		"another CA": {[]string{"a.test"}, func(c *state.Cluster) { cert(c, "a.test", 5*day, 30*day); c.Spec.TLS.CA += "2" }, "renew a.test (the file names another CA)", 0},
		"what was brought is left": {[]string{"a.test"}, func(c *state.Cluster) {
			c.Certificates = c.Certificates.Put("a.test", state.Certificate{Name: "a.test"})
		}, "", 0},
		"the soonest to expire first": {[]string{"n.test", "b.test", "a.test"}, func(c *state.Cluster) { cert(c, "a.test", -1, 20*day); cert(c, "b.test", -1, 10*day) },
			"renew b.test (it is to be renewed), renew a.test (it is to be renewed), n.test (it has none)", 0},
		"the fewest failures first": {[]string{"a.test", "b.test"}, func(c *state.Cluster) { failed(c, "a.test", 2, 0) }, "b.test (it has none), a.test (it has none)", 0},
		"the day is used up":        {[]string{"a.test"}, func(c *state.Cluster) { ordered(c, 8, 23*time.Hour) }, "", time.Hour},
		"a renewal has its own share": {[]string{"a.test", "b.test"}, func(c *state.Cluster) { ordered(c, 8, 20*time.Hour); cert(c, "b.test", -1, day) },
			"renew b.test (it is to be renewed)", 4 * time.Hour},
		"all of the day is used up": {[]string{"b.test"}, func(c *state.Cluster) { ordered(c, 10, 20*time.Hour); cert(c, "b.test", -1, day) }, "", 4 * time.Hour},
		"yesterday does not count":  {[]string{"a.test"}, func(c *state.Cluster) { ordered(c, 10, 24*time.Hour) }, "a.test (it has none)", 0},
	} {
		t.Run(name, func(t *testing.T) {
			c := certified(tc.hosts...)
			if tc.change != nil {
				tc.change(&c)
			}
			due, next := plan.Certificates(c, now)
			var got []string
			for _, o := range due {
				text := fmt.Sprintf("%s (%s)", o.Name, o.Why)
				if o.Renew {
					text = "renew " + text
				}
				got = append(got, text)
			}
			if strings.Join(got, ", ") != tc.want {
				t.Errorf("due are %q, want %q", got, tc.want)
			}
			if tc.next == 0 && !next.IsZero() || tc.next != 0 && !next.Equal(now.Add(tc.next)) {
				t.Errorf("look again at %v, want in %v", next, tc.next)
			}
		})
	}
}

func demand(c *state.Cluster, name string, next time.Time) {
	c.CertOrders = c.CertOrders.Put(name, state.CertOrder{Name: name, Demanded: true, Next: next, Failures: 2})
}

// A flood of wrong names leaves room for what works.
func TestWrongNamesDoNotUseUpTheDay(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	var hosts []string
	for n := range 1000 {
		hosts = append(hosts, fmt.Sprintf("wrong%d.test", n))
	}
	c := certified(append(hosts, "good.test")...)
	c.Certificates = c.Certificates.Put("good.test", state.Certificate{Name: "good.test", CA: testCA, RenewAt: now.Add(20 * time.Hour), NotAfter: now.Add(48 * time.Hour)})
	orders, renewed := 0, false
	for end := now.Add(30 * time.Hour); now.Before(end); now = now.Add(time.Minute) {
		due, _ := plan.Certificates(c, now)
		for _, o := range due {
			orders++
			next, errs := state.Apply(c, c.Index+1, state.Proposal{At: now, Commands: []state.Command{
				state.BeginCertOrder{Name: o.Name, Host: "a"}, state.FailCertOrder{Name: o.Name, Host: "a", Challenge: "http-01", Error: "no such name"},
			}})
			if errs[0] != nil || errs[1] != nil {
				t.Fatalf("planned, and refused: %v", errs)
			}
			c, renewed = next, renewed || o.Name == "good.test"
		}
	}
	if !renewed {
		t.Error("the good certificate was not renewed")
	}
	if orders > 20 {
		t.Errorf("%d orders in 30 hours, at most 10 may be in 24", orders)
	}
}
