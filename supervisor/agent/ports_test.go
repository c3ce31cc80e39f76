package agent

import (
	"sync"
	"testing"
)

func TestPortsAreHandedOutOnce(t *testing.T) {
	p := newPorts()
	take := func(inUse map[int]bool) int {
		t.Helper()
		port, err := p.take(inUse)
		if err != nil {
			t.Fatal(err)
		}
		return port
	}
	if got := take(nil); got != FirstPort {
		t.Errorf("the first is %d, want %d", got, FirstPort)
	}
	if got := take(map[int]bool{FirstPort + 1: true}); got != FirstPort+2 {
		t.Errorf("got %d, want the one after the one in use", got)
	}
	p.next = LastPort
	if got := take(nil); got != LastPort {
		t.Errorf("got %d, want the last", got)
	}
	if got := take(nil); got != FirstPort+1 {
		t.Errorf("got %d, want the first that is free after going round", got)
	}
	p.release(FirstPort)
	p.next = FirstPort
	if got := take(nil); got != FirstPort {
		t.Errorf("got %d, want the one that was given back", got)
	}
}

func TestPortsRunOut(t *testing.T) {
	p := newPorts()
	used := map[int]bool{}
	for port := FirstPort; port <= LastPort; port++ {
		used[port] = true
	}
	if port, err := p.take(used); err == nil {
		t.Errorf("got %d, and all are in use", port)
	}
}

func TestPortsOfLaunchesSideBySideDiffer(t *testing.T) {
	p := newPorts()
	var wg sync.WaitGroup
	var mu sync.Mutex
	seen := map[int]bool{}
	for range 200 {
		wg.Go(func() {
			port, err := p.take(nil)
			mu.Lock()
			defer mu.Unlock()
			if err != nil || seen[port] {
				t.Errorf("port %d a second time, or %v", port, err)
			}
			seen[port] = true
		})
	}
	wg.Wait()
}

func TestPortOf(t *testing.T) {
	for address, want := range map[string]int{"127.0.0.1:4000": 4000, "[::1]:4001": 4001, "": 0, "127.0.0.1": 0, "127.0.0.1:http": 0} {
		if got := portOf(address); got != want {
			t.Errorf("port of %q is %d, want %d", address, got, want)
		}
	}
}
