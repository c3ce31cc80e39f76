package agent

import (
	"context"
	"errors"
	"maps"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/supervisord/supervisord/lbconfig"
	"github.com/supervisord/supervisord/supervisor/state"
)

// reacher looks which instances of other hosts this host can reach, so that
// its nginx leaves the others out at once: by itself, also when this host is
// cut off, and long before the leader gives a host up.
type reacher struct {
	// changed has room for one: the router looks again.
	changed chan struct{}

	mu  sync.Mutex
	out map[string]bool
	// failed counts the attempts in a row that found no way, by address.
	failed map[string]int
}

const (
	reachEvery  = time.Second
	reachWithin = 500 * time.Millisecond
	// reachTries is how many attempts must fail before an address that does
	// not answer is left out. One that refuses is left out at once.
	reachTries = 2
	// reachDials bounds the connections that are tried at once.
	reachDials = 16
)

func newReacher() *reacher {
	return &reacher{changed: make(chan struct{}, 1), out: map[string]bool{}, failed: map[string]int{}}
}

// dial is the Dial of an agent on a real host.
func dial(ctx context.Context, address string) error {
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return err
	}
	return c.Close()
}

// run looks until the context ends.
func (r *reacher) run(ctx context.Context, a *Agent) error {
	t := time.NewTicker(reachEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
		c, _ := a.Replica.Current()
		r.look(ctx, a, routedElsewhere(c, a.Host))
	}
}

// routedElsewhere are the addresses that nginx sends to on other hosts that
// can be asked.
func routedElsewhere(c state.Cluster, host string) map[string][]string {
	at := map[string][]string{}
	for i := range c.Instances.Values() {
		if i.Phase == state.Ready && i.Address != "" && i.Host != host {
			at[i.Host] = append(at[i.Host], i.Address)
		}
	}
	maps.DeleteFunc(at, func(name string, _ []string) bool {
		h, ok := c.Hosts.Get(name)
		return !ok || h.Peer == ""
	})
	return at
}

// look asks all hosts once, and the instances of those that do not answer.
func (r *reacher) look(ctx context.Context, a *Agent, at map[string][]string) {
	c, _ := a.Replica.Current()
	var wg sync.WaitGroup
	var mu sync.Mutex
	suspects := []string{}
	for name, addresses := range at {
		h, _ := c.Hosts.Get(name)
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, reachWithin)
			defer cancel()
			if a.Ping(ctx, h) == nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			suspects = append(suspects, addresses...)
		})
	}
	wg.Wait()
	found := r.tryAll(ctx, a, suspects)
	// What does not answer gets its second try at once.
	again := slices.DeleteFunc(slices.Clone(suspects), func(address string) bool { return found[address] == nil || refused(found[address]) })
	second := r.tryAll(ctx, a, again)
	if ctx.Err() != nil {
		return
	}
	if r.note(found, second) {
		select {
		case r.changed <- struct{}{}:
		default:
		}
	}
}

// tryAll connects to addresses, some at once, and returns what came of it.
func (r *reacher) tryAll(ctx context.Context, a *Agent, addresses []string) map[string]error {
	var wg sync.WaitGroup
	var mu sync.Mutex
	found := make(map[string]error, len(addresses))
	slots := make(chan struct{}, reachDials)
	for _, address := range addresses {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			ctx, cancel := context.WithTimeout(ctx, reachWithin)
			defer cancel()
			err := a.Dial(ctx, address)
			mu.Lock()
			defer mu.Unlock()
			found[address] = err
		})
	}
	wg.Wait()
	return found
}

// note takes in rounds of tries, each by address; addresses that were not tried
// can be reached. It says whether the answer has changed.
func (r *reacher) note(rounds ...map[string]error) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	failed := map[string]int{}
	for _, tries := range rounds {
		for address, err := range tries {
			switch {
			case err == nil:
				delete(failed, address)
			case refused(err):
				failed[address] = reachTries
			default:
				if failed[address] == 0 {
					failed[address] = r.failed[address]
				}
				failed[address]++
			}
		}
	}
	out := map[string]bool{}
	for address, n := range failed {
		if n >= reachTries {
			out[address] = true
		}
	}
	changed := !maps.Equal(out, r.out)
	r.failed, r.out = failed, out
	return changed
}

// refused says whether somebody has answered that nobody is there.
func refused(err error) bool {
	return errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.EHOSTUNREACH)
}

// reachable is a configuration without the servers that cannot be reached. A
// site of which none can be keeps them all: then it is more likely that this
// host is at fault, and nginx tries.
func (r *reacher) reachable(cfg lbconfig.Config) lbconfig.Config {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.out) == 0 {
		return cfg
	}
	cfg.Sites = slices.Clone(cfg.Sites)
	for n, site := range cfg.Sites {
		left := slices.DeleteFunc(slices.Clone(site.Servers), func(s lbconfig.Server) bool { return r.out[s.Address] })
		if len(left) > 0 {
			cfg.Sites[n].Servers = left
		}
	}
	return cfg
}
