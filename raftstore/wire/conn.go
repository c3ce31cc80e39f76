package wire

import (
	"crypto/tls"
	"fmt"
	"net"
	"sync"
)

// conn is a connection after its handshake. It is not a *tls.Conn to those who
// take it: the HTTP server would refuse our protocols.
type conn struct {
	net.Conn
	// peer is the other server; "" for a host that wants to join.
	peer   string
	denied func(string) bool
	forget func(*conn)
	once   sync.Once
	err    error
}

// removed closes the connection to a server that is no longer welcome.
func (c *conn) removed() error {
	if c.peer == "" || !c.denied(c.peer) {
		return nil
	}
	_ = c.Close()
	return removedError(c.peer)
}

type removedError string

func (e removedError) Error() string {
	return fmt.Sprintf("server %s was removed from the cluster", string(e))
}

// Read implements net.Conn. It may have waited for long, so it looks again
// before it gives anything out.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if gone := c.removed(); gone != nil {
		return 0, gone
	}
	return n, err
}

// Write implements net.Conn.
func (c *conn) Write(p []byte) (int, error) {
	if gone := c.removed(); gone != nil {
		return 0, gone
	}
	return c.Conn.Write(p)
}

// Close implements net.Conn.
func (c *conn) Close() error {
	c.once.Do(func() {
		c.forget(c)
		c.err = c.Conn.Close()
	})
	return c.err
}

// conns are all open connections of a port, so that they end with it.
type conns struct {
	mu     sync.Mutex
	closed bool
	open   map[net.Conn]struct{}
	// greeting counts those in their handshake, by where they come from.
	greeting map[string]int
	total    int
}

const (
	// maxGreeting is how many connections may be in their handshake at once,
	// maxGreetingEach how many from one address: nobody can keep the others
	// out by opening many and saying nothing.
	maxGreeting     = 256
	maxGreetingEach = 32
)

// greet takes a connection up for its handshake; false when there are too
// many.
func (s *conns) greet(c net.Conn) bool {
	from := hostOf(c)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.total >= maxGreeting || s.greeting[from] >= maxGreetingEach {
		return false
	}
	s.total++
	s.greeting[from]++
	s.open[c] = struct{}{}
	return true
}

// greeted ends what greet began.
func (s *conns) greeted(c net.Conn) {
	from := hostOf(c)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total--
	if s.greeting[from]--; s.greeting[from] == 0 {
		delete(s.greeting, from)
	}
	delete(s.open, c)
}

// keep makes a connection of what a handshake left; nil when the port is
// closed.
func (s *conns) keep(c *tls.Conn, peer string, denied func(string) bool) *conn {
	kept := &conn{Conn: c, peer: peer, denied: denied, forget: s.forget}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil
	}
	s.open[kept] = struct{}{}
	return kept
}

func (s *conns) forget(c *conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, c)
}

// close ends all connections, and those to come.
func (s *conns) close() {
	s.mu.Lock()
	s.closed = true
	all := make([]net.Conn, 0, len(s.open))
	for c := range s.open {
		all = append(all, c)
	}
	s.mu.Unlock()
	for _, c := range all {
		_ = c.Close()
	}
}

func hostOf(c net.Conn) string {
	host, _, err := net.SplitHostPort(c.RemoteAddr().String())
	if err != nil {
		return c.RemoteAddr().String()
	}
	return host
}
