package agent

import (
	"fmt"
	"net"
	"strconv"
	"sync"
)

// The range host ports are taken from: from 4000 up, below the range that
// Linux gives to outgoing connections (32768 and up).
const (
	FirstPort = 4000
	LastPort  = 32767
)

// ports hands out host ports of this host to launches. It keeps launches of
// this agent from racing each other; against other programs the engine's own
// bind at start is the judge, and a port found taken is passed over.
type ports struct {
	mu   sync.Mutex
	next int
	held map[int]bool
}

func newPorts() *ports { return &ports{next: FirstPort, held: map[int]bool{}} }

// take returns a port that no launch holds and no container in use has.
func (p *ports) take(inUse map[int]bool) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for range LastPort - FirstPort + 1 {
		port := p.next
		if p.next++; p.next > LastPort {
			p.next = FirstPort
		}
		if !p.held[port] && !inUse[port] {
			p.held[port] = true
			return port, nil
		}
	}
	return 0, fmt.Errorf("no host port from %d to %d is free", FirstPort, LastPort)
}

// release gives a port back once its launch has ended: by then the container
// is known by its address, or the port was not used.
func (p *ports) release(port int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.held, port)
}

// portOf is the port of "IP:port"; 0 where there is none.
func portOf(address string) int {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return 0
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return 0
	}
	return n
}
