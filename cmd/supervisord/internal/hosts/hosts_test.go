//go:build hosts

package hosts_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/supervisord/supervisord/cmd/supervisord/internal/hosts"
	"github.com/supervisord/supervisord/supervisor/api"
	"github.com/supervisord/supervisord/supervisor/state"
)

// TestHosts is one life of a cluster of three real hosts. With -short it has
// the parts that fit into a test of every change.
func TestHosts(t *testing.T) {
	begin := time.Now()
	fleet, err := hosts.Start(t.Context(), 3)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := fleet.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	s := &scene{T: t, Fleet: fleet, dir: t.TempDir()}
	t.Logf("three hosts are up after %s", time.Since(begin).Round(time.Second))
	s.install()
	for _, part := range []struct {
		name string
		long bool
		run  func(*scene)
	}{
		{"form", false, form},
		{"the leader's daemon is killed", false, killLeader},
		{"a host is cut off and heals", false, cutOff},
		{"a host is killed and comes back", false, killHost},
		{"scale across hosts", true, scale},
		{"forty containers", true, forty},
		{"an edit on another host", true, edit},
		{"drain a host", true, drain},
		{"a rolling upgrade", true, upgrade},
		{"deploys, good and bad, and the leader is killed", true, deploys},
		{"everything restarts", true, restartAll},
		{"a host leaves and joins again", true, leave},
		{"a quorum is lost for good", true, recoverAlone},
		{"a lost host joins anew, from the package", true, joinPackaged},
	} {
		if part.long && testing.Short() {
			continue
		}
		ok := t.Run(part.name, func(t *testing.T) {
			begin := time.Now()
			part.run(&scene{T: t, Fleet: fleet, dir: s.dir})
			t.Logf("took %s", time.Since(begin).Round(100*time.Millisecond))
		})
		if !ok {
			t.Fatal("the rest needs it")
		}
	}
}

// form makes a cluster with what init and join print.
func form(s *scene) {
	first := s.Hosts[0]
	s.must(first.Write(s.Context(), "/etc/supervisord/docker-compose.prod.yml", file))
	begin := time.Now()
	line := strings.TrimSpace(s.exec(first, "supervisord", "init"))
	initDone := time.Since(begin)
	for _, h := range s.Hosts[1:] {
		s.exec(h, strings.Fields(line)...)
	}
	joined := time.Since(begin)
	s.eventually("all is well", time.Minute, s.whole(s.Hosts...))
	s.Logf("init took %s, all three had joined after %s, all three served after %s", initDone.Round(time.Millisecond), joined.Round(time.Millisecond), time.Since(begin).Round(time.Millisecond))
	s.eventually("three voters", time.Minute, s.voters(3))
	s.eventually("spread evenly", time.Minute, s.spread(replicas/3))
	s.lossless(s.load()(), s.Hosts...)
	// The other hosts' files follow.
	for _, h := range s.Hosts[1:] {
		s.eventually("the file follows", 10*time.Second, func() string {
			if out := s.exec(h, "cat", "/etc/supervisord/docker-compose.prod.yml"); out != file {
				return out
			}
			return ""
		})
	}
	// Strangers get nothing.
	if out, err := first.Exec(s.Context(), "curl", "-sk", "--max-time", "3", "https://"+s.Hosts[1].IP+":7946/rpc/v1/standing"); err == nil {
		s.Errorf("a stranger got %q", out)
	}
	if out := s.exec(first, "systemd-analyze", "security", "supervisord.service", "--no-pager"); !strings.Contains(out, "Overall exposure level") {
		s.Errorf("systemd says %s", out)
	} else {
		s.Logf("%s", strings.TrimSpace(out[strings.Index(out, "Overall"):]))
	}
}

func (s *scene) voters(n int) func() string {
	return func() string {
		st, err := s.Hosts[0].Status(s.Context())
		if err != nil {
			return err.Error()
		}
		v := 0
		for _, h := range st.Hosts {
			if h.Role == api.RoleLeader || h.Role == api.RoleVoter {
				v++
			}
		}
		if v != n {
			return fmt.Sprintf("%d vote", v)
		}
		return ""
	}
}

// spread says whether each host serves exactly so many instances.
func (s *scene) spread(each int) func() string {
	return func() string {
		st, err := s.Hosts[0].Status(s.Context())
		if err != nil {
			return err.Error()
		}
		for _, h := range st.Hosts {
			if h.Phases != (api.Phases{Ready: each}) {
				return fmt.Sprintf("%s has %+v", h.Name, h.Phases)
			}
		}
		return ""
	}
}

func killLeader(s *scene) {
	end := s.load()
	old := s.leader()
	s.must(old.KillDaemon(s.Context()))
	begin := time.Now()
	other := s.without(old)[0]
	// A change that only a leader can commit.
	s.eventually("a change is committed", 10*time.Second, func() string {
		if _, err := other.Exec(s.Context(), "supervisord", "scale", "backend", fmt.Sprint(replicas)); err != nil {
			return err.Error()
		}
		return ""
	})
	s.Logf("an operator's change was committed %s after the kill, commands and all", time.Since(begin).Round(time.Millisecond))
	s.eventually("all is well", 30*time.Second, s.whole(s.Hosts...))
	s.exec(other, "supervisord", "scale", "backend", "auto")
	s.lossless(end(), s.Hosts...)
}

func cutOff(s *scene) {
	end := s.load()
	cut := s.without(s.leader())[0]
	before := s.exec(cut, "docker", "ps", "-q")
	s.must(cut.CutOff(s.Context()))
	others := s.without(cut)
	s.eventually("the others go on", time.Minute, s.whole(others...))
	// Cut off, it keeps what it has, and changes nothing.
	if now := s.exec(cut, "docker", "ps", "-q"); now != before {
		s.Errorf("cut off, it ran\n%s\nand now\n%s", before, now)
	}
	if out, err := cut.Exec(s.Context(), "supervisord", "scale", "backend", "1"); err == nil {
		s.Errorf("cut off, it takes changes: %s", out)
	}
	// It may help itself: an instance that ends is started again.
	id := strings.Fields(before)[0]
	s.exec(cut, "docker", "kill", id)
	s.eventually("it helps itself", 20*time.Second, func() string {
		if out := s.exec(cut, "docker", "ps", "-q"); !strings.Contains(out, id) {
			return "the instance is not running again"
		}
		return ""
	})
	s.must(cut.Heal(s.Context()))
	s.eventually("all is well", time.Minute, s.whole(s.Hosts...))
	s.eventually("spread again", time.Minute, s.spread(replicas/3))
	s.happened(others[0], state.EventHostLost)
	s.happened(others[0], state.EventHostBack)
	s.bounded(end(), 0.03, others...)
}

func killHost(s *scene) {
	end := s.load()
	gone := s.leader()
	s.must(gone.Kill(s.Context()))
	others := s.without(gone)
	s.Logf("its instances were replaced %s after the kill", s.eventually("the others go on", time.Minute, s.whole(others...)).Round(100*time.Millisecond))
	s.must(gone.PowerOn(s.Context()))
	s.eventually("all is well", time.Minute, s.whole(s.Hosts...))
	s.eventually("spread again", time.Minute, s.spread(replicas/3))
	s.bounded(end(), 0.03, others...)
}

func scale(s *scene) {
	s.exec(s.Hosts[1], "supervisord", "scale", "backend", "9")
	s.eventually("nine are ready, three on each host", time.Minute, s.spread(3))
	end := s.load()
	s.exec(s.Hosts[1], "supervisord", "scale", "backend", fmt.Sprint(replicas))
	s.eventually("all is well", time.Minute, s.whole(s.Hosts...))
	s.exec(s.Hosts[1], "supervisord", "scale", "backend", "auto")
	s.lossless(end(), s.Hosts...)
}

// forty measures what the daemons cost when there is much to look after.
func forty(s *scene) {
	s.exec(s.Hosts[1], "supervisord", "scale", "backend", "39")
	s.eventually("39 are ready, 13 on each host", 3*time.Minute, s.spread(13))
	time.Sleep(5 * time.Second)
	const over = 20 * time.Second
	before := map[string]time.Duration{}
	for _, h := range s.Hosts {
		before[h.Name], _ = s.cost(h)
	}
	time.Sleep(over)
	for _, h := range s.Hosts {
		cpu, rss := s.cost(h)
		s.Logf("%s: %.2f %% of a core, %.1f MiB, leads: %v", h.Name, 100*(cpu-before[h.Name]).Seconds()/over.Seconds(), float64(rss)/1024, h == s.leader())
	}
	s.exec(s.Hosts[1], "supervisord", "scale", "backend", fmt.Sprint(replicas))
	s.eventually("all is well", 3*time.Minute, s.whole(s.Hosts...))
	s.exec(s.Hosts[1], "supervisord", "scale", "backend", "auto")
	s.eventually("spread again", time.Minute, s.spread(replicas/3))
}

// cost is the processor time that a host's daemon has used, and its resident
// memory in KiB.
func (s *scene) cost(h *hosts.Host) (cpu time.Duration, rss int) {
	s.Helper()
	const ticks = 100 // of the kernel's clock in a second, as /proc has it
	out := s.exec(h, "sh", "-ec", `pid=$(systemctl show -P MainPID supervisord); cut -d" " -f14,15 /proc/$pid/stat; awk '/VmRSS/ {print $2}' /proc/$pid/status`)
	var user, system int
	if _, err := fmt.Sscan(out, &user, &system, &rss); err != nil {
		s.Fatalf("%q: %v", out, err)
	}
	return time.Duration(user+system) * time.Second / ticks, rss
}

func edit(s *scene) {
	const path = "/etc/supervisord/docker-compose.prod.yml"
	edited := file + "# edited on h3\n"
	s.must(s.Hosts[2].Write(s.Context(), path, edited))
	for _, h := range s.Hosts {
		s.eventually("the file follows", 10*time.Second, func() string {
			if out := s.exec(h, "cat", path); out != edited {
				return h.Name + " has another one"
			}
			return ""
		})
	}
}

func drain(s *scene) {
	end := s.load()
	gone := s.leader()
	s.exec(s.without(gone)[0], "supervisord", "hosts", "drain", gone.Name, "--wait")
	if out := s.exec(gone, "docker", "ps", "-q"); strings.TrimSpace(out) != "" {
		s.Errorf("on the drained host still run %s", out)
	}
	s.exec(gone, "supervisord", "hosts", "resume", gone.Name)
	s.eventually("all is well", time.Minute, s.whole(s.Hosts...))
	s.eventually("spread again", time.Minute, s.spread(replicas/3))
	s.lossless(end(), s.Hosts...)
}

// upgrade replaces the daemon on one host after the other, the leader's first.
func upgrade(s *scene) {
	program := s.build(module+"cmd/supervisord", "supervisord-next", "v0.0.2")
	end := s.load()
	leader := s.leader()
	for _, h := range append([]*hosts.Host{leader}, s.without(leader)...) {
		before := s.exec(h, "docker", "ps", "-q")
		s.must(h.Copy(s.Context(), program, "/root/supervisord", "755"))
		begin := time.Now()
		s.exec(h, "/root/supervisord", "install")
		s.eventually("all is well", 30*time.Second, s.whole(s.Hosts...))
		s.Logf("%s was upgraded in %s", h.Name, time.Since(begin).Round(time.Millisecond))
		if after := s.exec(h, "docker", "ps", "-q"); after != before {
			s.Errorf("the upgrade of %s changed what runs there:\n%s\nnow\n%s", h.Name, before, after)
		}
		if st, err := h.Status(s.Context()); err != nil || !strings.Contains(st.Version, "0.0.2") {
			s.Errorf("%s runs %q: %v", h.Name, st.Version, err)
		}
	}
	s.lossless(end(), s.Hosts...)
}

// deploys has a release that is well, one that is not, and one in whose midst
// the leader is killed.
func deploys(s *scene) {
	with := func(environment string) string {
		return strings.Replace(file, "    user:", "    environment: {"+environment+"}\n    user:", 1)
	}
	deploy := func(h *hosts.Host, text string) (string, error) {
		begin := time.Now()
		out, err := h.Feed(s.Context(), strings.NewReader(text), "supervisord", "deploy", "-f", "-")
		s.Logf("%s after %s, error %v", strings.TrimSpace(out), time.Since(begin).Round(100*time.Millisecond), err)
		return out, err
	}
	end := s.load()
	leader := s.leader()
	other := s.without(leader)[0]
	if out, err := deploy(other, with(`WORK_MS: "6"`)); err != nil || !strings.Contains(out, "is healthy") {
		s.Errorf("a good release: %s %v", out, err)
	}
	if out, err := deploy(other, with(`WORK_MS: "many"`)); err == nil || !strings.Contains(err.Error(), "failed and was taken back") {
		s.Errorf("a bad release: %s %v", out, err)
	}
	s.eventually("all is well", time.Minute, s.whole(s.Hosts...))
	// An image that only one host has, and no registry.
	const built = "supervisord-test-backend:2"
	s.exec(other, "docker", "tag", image, built)
	s.exec(other, "supervisord", "deploy", "--image", "backend="+built)
	for _, h := range s.Hosts {
		s.exec(h, "docker", "image", "inspect", built)
	}
	s.eventually("all is well", time.Minute, s.whole(s.Hosts...))
	ended := make(chan error, 1)
	go func() {
		_, err := deploy(other, with(`WORK_MS: "7"`))
		ended <- err
	}()
	time.Sleep(1500 * time.Millisecond)
	s.must(leader.KillDaemon(s.Context()))
	if err := <-ended; err != nil {
		s.Errorf("the release in whose midst the leader was killed: %v", err)
	}
	s.eventually("all is well", time.Minute, s.whole(s.Hosts...))
	for _, h := range s.Hosts {
		for _, id := range strings.Fields(s.exec(h, "docker", "ps", "-q")) {
			if env := s.exec(h, "docker", "inspect", "-f", "{{.Config.Env}}", id); !strings.Contains(env, "WORK_MS=7") {
				s.Errorf("%s on %s has %s", id, h.Name, env)
			}
		}
		if text := s.exec(h, "cat", "/etc/supervisord/docker-compose.prod.yml"); text != with(`WORK_MS: "7"`) {
			s.Errorf("the file on %s:\n%s", h.Name, text)
		}
	}
	s.lossless(end(), s.Hosts...)
}

func restartAll(s *scene) {
	for _, h := range s.Hosts {
		s.must(h.Kill(s.Context()))
	}
	for _, h := range s.Hosts {
		s.must(h.PowerOn(s.Context()))
	}
	s.Logf("all was well %s after the last host was up", s.eventually("all is well", 2*time.Minute, s.whole(s.Hosts...)).Round(100*time.Millisecond))
	s.lossless(s.load()(), s.Hosts...)
}

func leave(s *scene) {
	h := s.leader()
	others := s.without(h)
	s.exec(h, "supervisord", "leave")
	s.eventually("the daemon ends, for good", 60*time.Second, func() string {
		out, _ := h.Exec(s.Context(), "systemctl", "show", "-p", "ActiveState,ExecMainStatus", "supervisord")
		if !strings.Contains(out, "ExecMainStatus=7") || strings.Contains(out, "ActiveState=active") {
			return out
		}
		return ""
	})
	s.eventually("the others go on", time.Minute, s.whole(others...))
	// As a new host, under its old name.
	s.exec(h, "rm", "-rf", "/var/lib/supervisord")
	line := strings.TrimSpace(s.exec(others[0], "supervisord", "token", "create"))
	s.exec(h, strings.Fields(line)...)
	s.eventually("all is well", time.Minute, s.whole(s.Hosts...))
	s.eventually("three voters", time.Minute, s.voters(3))
}

func recoverAlone(s *scene) {
	alone := s.Hosts[0]
	for _, h := range s.Hosts[1:] {
		s.must(h.Kill(s.Context()))
	}
	s.eventually("it is cut off", 30*time.Second, func() string {
		if st, err := alone.Status(s.Context()); err != nil || st.Connected {
			return fmt.Sprintf("connected %v, %v", st.Connected, err)
		}
		return ""
	})
	s.exec(alone, "systemctl", "stop", "supervisord")
	s.exec(alone, "supervisord", "recover", "--yes")
	s.exec(alone, "systemctl", "start", "supervisord")
	s.eventually("it goes on alone", time.Minute, s.whole(alone))
	for _, h := range s.Hosts[1:] {
		s.exec(alone, "supervisord", "hosts", "remove", h.Name)
	}
	if out := s.exec(alone, "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "http://127.0.0.1/"); out != "200" {
		s.Errorf("alone it answers %s", out)
	}
}

// joinPackaged has a host that was given up come back with what it had, which
// must count for nothing, and then join as a new one.
func joinPackaged(s *scene) {
	deb := os.Getenv("SUPERVISORD_DEB")
	if deb == "" {
		s.Skip("SUPERVISORD_DEB names no package: make test-hosts builds it")
	}
	first, second := s.Hosts[0], s.Hosts[1]
	s.must(second.PowerOn(s.Context()))
	time.Sleep(3 * time.Second)
	s.eventually("the first goes on alone", 10*time.Second, s.whole(first))
	s.exec(second, "sh", "-ec", `systemctl disable --now supervisord
rm -r /var/lib/supervisord /etc/systemd/system/supervisord.service /usr/local/bin/supervisord
systemctl daemon-reload`)
	s.must(second.Copy(s.Context(), deb, "/root/supervisord.deb", "644"))
	s.exec(second, "dpkg", "-i", "/root/supervisord.deb")
	s.exec(second, "supervisord", "install")
	s.exec(second, strings.Fields(s.exec(first, "supervisord", "token", "create"))...)
	s.eventually("both are whole", time.Minute, s.whole(first, second))
	s.eventually("it serves its share", time.Minute, s.spread(replicas/2))
	if out := s.exec(second, "systemctl", "show", "-p", "FragmentPath", "supervisord"); !strings.Contains(out, "/lib/systemd/system/") {
		s.Errorf("the unit is %s, want the package's", out)
	}
	// An upgrade starts the daemon anew, and a removal ends it; the containers
	// go on.
	before := s.exec(second, "docker", "ps", "-q")
	s.exec(second, "dpkg", "-i", "/root/supervisord.deb")
	s.eventually("both are whole", time.Minute, s.whole(first, second))
	s.exec(second, "dpkg", "-r", "supervisord")
	if after := s.exec(second, "docker", "ps", "-q"); after != before || strings.TrimSpace(after) == "" {
		s.Errorf("before the upgrade and the removal of the package ran\n%s\nand now\n%s", before, after)
	}
}
