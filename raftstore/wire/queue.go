package wire

import (
	"net"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// queue is a listener of connections that somebody else has taken.
type queue struct {
	address net.Addr
	conns   chan net.Conn

	mu     sync.Mutex
	ended  bool
	closed chan struct{}
}

// waiting is how many connections may wait for their taker.
const waiting = 64

func newQueue(address net.Addr) *queue {
	return &queue{address: address, conns: make(chan net.Conn, waiting), closed: make(chan struct{})}
}

// put hands a connection over; false when nobody takes it.
func (q *queue) put(c net.Conn) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ended {
		return false
	}
	select {
	case q.conns <- c:
		return true
	default:
		return false
	}
}

// Accept implements net.Listener.
func (q *queue) Accept() (net.Conn, error) {
	select {
	case c := <-q.conns:
		return c, nil
	case <-q.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener. What waits is closed.
func (q *queue) Close() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.ended {
		return nil
	}
	q.ended = true
	close(q.closed)
	for {
		select {
		case c := <-q.conns:
			_ = c.Close()
		default:
			return nil
		}
	}
}

// Addr implements net.Listener: what the log tells the others.
func (q *queue) Addr() net.Addr { return q.address }

// stream is the log's way to the other servers.
type stream struct {
	*queue
	wire *Wire
}

// Dial implements raft.StreamLayer.
func (s stream) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	return s.wire.dialRaft(string(address), min(timeout, dialWithin))
}
