package state_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/supervisord/supervisord/lbconfig"
	"github.com/supervisord/supervisord/supervisor/state"
)

// secured has a service "shop" with TLS for two hosts, and one whose
// certificate an operator brings.
func secured() state.Spec {
	s := spec("1")
	s.TLS = &state.TLS{Email: "ops@example.com", CA: "https://ca.test/dir", OrdersPerDay: 5}
	s.Services["shop"] = state.Service{Name: "shop", Hash: "s", Replicas: 1,
		Ingress: &lbconfig.Ingress{Hosts: []string{"WWW.example.com", "example.com"}, Port: 80, TLS: lbconfig.TLSAuto}}
	s.Services["own"] = state.Service{Name: "own", Hash: "o", Replicas: 1,
		Ingress: &lbconfig.Ingress{Hosts: []string{"own.example.com"}, Port: 80, TLS: lbconfig.TLSManual}}
	return s
}

func withTLS(t testing.TB) *log {
	l := &log{Cluster: state.New(), now: epoch}
	l.must(t, state.Found{ID: "c1"}, host("a"), host("b"))
	l.must(t, state.SetSpec{Spec: secured(), Host: "a"})
	return l
}

// kept is a certificate that the CA has issued.
func kept(name, print string, notAfter time.Time) state.KeepCertificate {
	return state.KeepCertificate{Certificate: state.Certificate{
		Name: name, Names: []string{name}, Chain: "PEM", Key: state.Sealed{Key: "k1", Data: []byte("secret")}, CA: "https://ca.test/dir",
		Issuer: "Test CA", Fingerprint: print, NotBefore: notAfter.Add(-90 * 24 * time.Hour), NotAfter: notAfter, RenewAt: notAfter.Add(-30 * 24 * time.Hour),
	}}
}

func (l *log) lastEvent() state.Event {
	var last state.Event
	for e := range l.Events.Values() {
		last = e
	}
	return last
}

func TestOrdersOfADayAreCounted(t *testing.T) {
	l := withTLS(t)
	begin := func(name string) state.Command { return state.BeginCertOrder{Name: name, Host: "a"} }
	fail := func(name string) state.Command {
		return state.FailCertOrder{Name: name, Host: "a", Challenge: "http-01", Error: "wrong answer"}
	}
	for n := range 4 {
		name := fmt.Sprintf("wrong%d.example.com", n)
		l.must(t, begin(name), fail(name))
	}
	l.refused(t, "the orders of 24 hours are used up; the next may begin at 2026-01-03T", begin("www.example.com"))
	// What has a certificate is renewed all the same, from the rest.
	l.must(t, kept("example.com", "1", l.now.Add(time.Hour)))
	l.must(t, begin("example.com"), fail("example.com"))
	l.refused(t, "used up", begin("example.com"))
	if left, again := l.CertOrdersLeft("example.com", l.now); left != 0 || !again.After(l.now.Add(23*time.Hour)) {
		t.Errorf("%d left, again at %s", left, again)
	}
	l.now = l.now.Add(24 * time.Hour)
	l.must(t, begin("www.example.com"))
	if len(l.CertOrderTimes) != 1 {
		t.Errorf("%d orders count still", len(l.CertOrderTimes))
	}
}

func TestACAThatIsAwayCostsNoOrder(t *testing.T) {
	l := withTLS(t)
	for range 20 {
		l.must(t, state.BeginCertOrder{Name: "example.com", Host: "a"})
		l.must(t, state.FailCertOrder{Name: "example.com", Host: "a", Challenge: "http-01", Error: "connection refused", Unreachable: true})
	}
	o, _ := l.CertOrders.Get("example.com")
	if wait := o.Next.Sub(l.now); wait > 10*time.Minute || len(l.CertOrderTimes) != 0 {
		t.Errorf("next in %s, %d orders count", wait, len(l.CertOrderTimes))
	}
}

func TestFailuresAreToldWithWhatItMeans(t *testing.T) {
	l := withTLS(t)
	l.must(t, kept("example.com", "1", epoch.Add(20*24*time.Hour+time.Hour)))
	l.must(t, state.BeginCertOrder{Name: "example.com", Host: "a"})
	l.must(t, state.FailCertOrder{Name: "example.com", Host: "a", Challenge: "http-01", At: "b", Error: "10.0.0.2: 404"})
	want := "the certificate of example.com could not be renewed, it expires in 20 days: http-01 failed (asked was b): 10.0.0.2: 404; failure 1 in a row, next attempt in 1m0s"
	if e := l.lastEvent(); e.Kind != state.EventCertFailed || e.Message != want || e.Host != "a" {
		t.Errorf("told is %+v, want %q", e, want)
	}
	l.must(t, state.BeginCertOrder{Name: "www.example.com", Host: "a"})
	l.must(t, state.FailCertOrder{Name: "www.example.com", Host: "a", Challenge: "http-01", Error: "too many", Limited: true})
	if e := l.lastEvent(); !strings.Contains(e.Message, "no certificate for www.example.com could be had: http-01 failed (ordered by a): too many; failure 1 in a row, next attempt in 1h0m0s") {
		t.Errorf("told is %q", e.Message)
	}
	l.refused(t, "no order of a certificate for www.example.com is under way on a", state.FailCertOrder{Name: "www.example.com", Host: "a", Error: "again"})
	l.refused(t, "under way on b", state.FailCertOrder{Name: "example.com", Host: "b", Error: "x"})
}

func TestACertificateIsKeptByWhoHasTheLock(t *testing.T) {
	l := withTLS(t)
	take := func(owner string) state.Command {
		return state.TakeLock{Name: "issue", Owner: owner, For: time.Minute}
	}
	l.must(t, take("a/1"))
	first := l.index
	l.refused(t, "lock issue is held by a/1", take("b/1"))
	l.must(t, take("a/1"))
	if held, _ := l.Locks.Get("issue"); held.Token != first {
		t.Errorf("the token of who has it longer is %d, was %d", held.Token, first)
	}
	l.now = l.now.Add(2 * time.Minute)
	l.must(t, take("b/1"))
	late := kept("example.com", "1", l.now.Add(90*24*time.Hour))
	late.Fence = &state.Fence{Lock: "issue", Token: first}
	l.refused(t, "the lock issue has been lost", late)
	late.Fence.Token = l.index - 1
	l.must(t, late, state.ReleaseLock{Name: "issue", Owner: "a/1"})
	if held, _ := l.Locks.Get("issue"); held.Owner != "b/1" {
		t.Errorf("released by another: %+v", held)
	}
	l.must(t, state.ReleaseLock{Name: "issue", Owner: "b/1"})
	if l.Locks.Len() != 0 {
		t.Error("the lock is still held")
	}
}

func TestWhatIsKeptOfCertificates(t *testing.T) {
	l := withTLS(t)
	l.refused(t, "a name, a chain and a sealed key", state.KeepCertificate{Certificate: state.Certificate{Name: "a.b"}})
	l.must(t, kept("gone.example.com", "0", l.now.Add(time.Hour)), kept("example.com", "1", l.now.Add(time.Hour)))
	l.must(t, state.BeginCertOrder{Name: "example.com", Host: "b"}, kept("example.com", "2", l.now.Add(90*24*time.Hour)))
	if e := l.lastEvent(); e.Kind != state.EventCertRenewed || e.Host != "b" {
		t.Errorf("told is %+v", e)
	}
	if o, _ := l.CertOrders.Get("example.com"); o.Ended.IsZero() || o.Failures != 0 {
		t.Errorf("the order is %+v", o)
	}
	before := l.LastEvent
	l.must(t, kept("example.com", "2", l.now.Add(90*24*time.Hour)))
	if l.LastEvent != before {
		t.Error("the same certificate again is told of")
	}
	l.must(t, state.PlanRenewal{Name: "example.com", Fingerprint: "2", RenewAt: l.now})
	l.refused(t, "another certificate", state.PlanRenewal{Name: "example.com", Fingerprint: "1"})
	l.now = l.now.Add(2 * time.Hour)
	l.must(t, kept("www.example.com", "3", l.now.Add(90*24*time.Hour)))
	if _, there := l.Certificates.Get("gone.example.com"); there {
		t.Error("an expired certificate of a name that is not in the file is kept")
	}
}

func TestOnlyWhatIsOrderedCanBeDemanded(t *testing.T) {
	l := withTLS(t)
	l.refused(t, `no host "api.example.com" with tls`, state.DemandCertificate{Name: "api.example.com"})
	l.refused(t, "yours to bring", state.DemandCertificate{Name: "own.example.com"})
	l.must(t, state.DemandCertificate{Name: "www.example.com"})
	if o, _ := l.CertOrders.Get("www.example.com"); !o.Demanded {
		t.Error("it is not noted")
	}
	l.must(t, state.BeginCertOrder{Name: "www.example.com", Host: "a"})
	if o, _ := l.CertOrders.Get("www.example.com"); o.Demanded {
		t.Error("it is ordered, and demanded still")
	}
}

func TestBlobs(t *testing.T) {
	l := withTLS(t)
	put := func(key string, size int) state.Command {
		return state.PutBlob{Key: key, Data: state.Sealed{Key: "k1", Data: make([]byte, size)}}
	}
	l.must(t, put("acme/a/x", 1), put("acme/a/y", 1), put("acme/ab", 1))
	l.refused(t, "no path", put("/x", 1))
	l.refused(t, "at most", put("x", 100_000))
	l.must(t, state.DeleteBlob{Key: "acme/a"}, state.DeleteBlob{Key: "nothing"})
	if _, there := l.Blobs.Get("acme/ab"); !there || l.Blobs.Len() != 1 {
		t.Errorf("%d blobs are left", l.Blobs.Len())
	}
}

func TestOfTwoKeysOneSeals(t *testing.T) {
	l := withTLS(t)
	l.must(t, state.SetSealKey{ID: "k1"})
	l.refused(t, "key k1 seals", state.SetSealKey{ID: "k2"})
	l.must(t, state.SetSealKey{ID: "k2", Before: "k1"})
}

func TestSealedTextIsInNoLog(t *testing.T) {
	cmd := kept("example.com", "1", epoch)
	blob := state.PutBlob{Key: "x", Data: cmd.Certificate.Key}
	for _, text := range []string{fmt.Sprintf("%v %+v %#v %s", cmd, cmd, cmd.Certificate, cmd), fmt.Sprintf("%v %+v %#v", blob, blob, blob)} {
		if strings.Contains(text, "secret") || strings.Contains(text, "115, 0x65") || strings.Contains(text, "115 101") {
			t.Errorf("shown is %s", text)
		}
	}
}

// Whatever the order of events, a lock has one owner until it expires, and its
// token grows with every new one.
func TestALockHasOneOwner(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := &log{Cluster: state.New(), now: epoch}
		owner, token, expires := "", uint64(0), time.Time{}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			l.now = l.now.Add(rapid.SampledFrom([]time.Duration{0, time.Second, 8 * time.Second}).Draw(t, "pass"))
			who := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "who")
			if rapid.Bool().Draw(t, "release") {
				l.apply(state.ReleaseLock{Name: "x", Owner: who})
				if who == owner {
					owner = ""
				}
				continue
			}
			err := l.apply(state.TakeLock{Name: "x", Owner: who, For: 10 * time.Second})[0]
			free := owner == "" || who == owner || !l.now.Before(expires)
			if (err == nil) != free {
				t.Fatalf("%s takes the lock of %q: %v", who, owner, err)
			}
			if err != nil {
				continue
			}
			held, _ := l.Locks.Get("x")
			if who != owner && held.Token <= token || held.Owner != who {
				t.Fatalf("%+v after token %d", held, token)
			}
			owner, token, expires = who, held.Token, held.Expires
		}
	})
}

func TestCertificateCommandsKeepTheirForm(t *testing.T) {
	if !*writeOldLog {
		t.Skip("the log is written once")
	}
	var out bytes.Buffer
	c, now := state.New(), epoch
	end := epoch.Add(90 * 24 * time.Hour)
	fenced := kept("www.example.com", "f1", end)
	fenced.Fence = &state.Fence{Lock: "issue", Token: 3}
	for n, cmds := range [][]state.Command{
		{state.Found{ID: "c1"}, host("a"), host("b"), state.SetSpec{Spec: secured(), Host: "a"}},
		{state.SetSealKey{ID: "k1"}},
		{state.TakeLock{Name: "issue", Owner: "a/1", For: time.Minute}, state.TakeLock{Name: "other", Owner: "b/1", For: time.Minute}},
		{state.PutBlob{Key: "acme/x", Data: state.Sealed{Key: "k1", Data: []byte("x")}, Size: 1}, state.PutBlob{Key: "acme/y", Data: state.Sealed{Key: "k1", Data: []byte("y")}, Size: 1}},
		{state.BeginCertOrder{Name: "www.example.com", Host: "a"}, state.BeginCertOrder{Name: "example.com", Host: "a"}},
		{fenced, state.DeleteBlob{Key: "acme/x"}, state.ReleaseLock{Name: "issue", Owner: "a/1"}},
		{state.FailCertOrder{Name: "example.com", Host: "a", At: "b", Challenge: "http-01", Error: "404"}},
		{state.PlanRenewal{Name: "www.example.com", Fingerprint: "f1", RenewAt: end.Add(-time.Hour)}, state.DemandCertificate{Name: "www.example.com"}},
	} {
		now = now.Add(time.Second)
		p := state.Proposal{At: now, Commands: cmds}
		entry, err := state.Encode(p)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(append(entry, '\n'))
		var errs []error
		if c, errs = state.Apply(c, uint64(n+1), p); errors.Join(errs...) != nil {
			t.Fatal(errs)
		}
	}
	path := filepath.Join("testdata", "v1-certs")
	if err := errors.Join(os.WriteFile(path+".log", out.Bytes(), 0o644), os.WriteFile(path+".state.json", bytesOf(t, c), 0o644)); err != nil {
		t.Fatal(err)
	}
}
