package demo

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"syscall"
	"time"
)

// clientConn is a connection with what has been read ahead of it.
type clientConn struct {
	net.Conn
	r *bufio.Reader
	// used says that it has carried a request before.
	used bool
}

// pool keeps idle connections; the one used last comes out first.
type pool struct {
	mu     sync.Mutex
	idle   []*clientConn
	closed bool
}

// take returns an idle connection that the server has not closed, as far as
// one can see; nil when there is none.
func (p *pool) take() *clientConn {
	for {
		c := p.pop()
		if c == nil || !hungUp(c.Conn) {
			return c
		}
		// It is closed on the other side already.
		_ = c.Close()
	}
}

func (p *pool) pop() *clientConn {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.idle) == 0 {
		return nil
	}
	last := len(p.idle) - 1
	c := p.idle[last]
	p.idle = p.idle[:last]
	return c
}

func (p *pool) put(c *clientConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		_ = c.Close()
		return
	}
	p.idle = append(p.idle, c)
}

func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, c := range p.idle {
		_ = c.Close()
	}
	p.idle = nil
}

// hungUp says whether the other side has closed an idle connection, or sent
// what nobody asked for. Clients notice that, since they always read; here one
// look before use is cheaper than a goroutine for each connection. What comes
// after the look is the race that ResetIdle counts.
func hungUp(c net.Conn) bool {
	raw, ok := c.(syscall.Conn)
	if !ok {
		return false
	}
	control, err := raw.SyscallConn()
	if err != nil {
		return true
	}
	open := false
	err = control.Read(func(fd uintptr) bool {
		var b [1]byte
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		open = errors.Is(err, syscall.EAGAIN)
		return true
	})
	return err != nil || !open
}

// send makes one request and says what became of it.
func (l *Load) send(ctx context.Context, r request, due time.Time) result {
	res := result{due: due}
	deadline := time.Now().Add(l.options.Timeout)
	c, err := l.connection(ctx, r.fresh, deadline)
	if err != nil {
		res.outcome, res.end = failedFresh, time.Now()
		if timedOutBy(err) {
			res.outcome = timedOut
		}
		return res
	}
	again := l.exchange(c, r, deadline, &res)
	res.end = time.Now()
	// An idle connection has no deadline, or it would look closed.
	if again && c.SetDeadline(time.Time{}) == nil {
		c.used = true
		l.pool.put(c)
	} else {
		// The request has ended, well or not; a close adds nothing.
		_ = c.Close()
	}
	return res
}

func (l *Load) connection(ctx context.Context, fresh bool, deadline time.Time) (*clientConn, error) {
	if !fresh {
		if c := l.pool.take(); c != nil {
			return c, nil
		}
	}
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	conn, err := l.options.Dial(ctx, "tcp", l.address)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	l.tally.report.Connections++
	l.mu.Unlock()
	return &clientConn{Conn: conn, r: bufio.NewReader(conn)}, nil
}

// exchange sends the request and reads its answer into res. It says whether
// the connection may be used again.
func (l *Load) exchange(c *clientConn, r request, deadline time.Time, res *result) (again bool) {
	silent := failedFresh
	if c.used {
		silent = resetIdle
	}
	err := c.SetDeadline(deadline)
	if err == nil {
		// A server may answer and close without reading all, so what counts is
		// whether there is something to read.
		_, err = c.Write(r.text)
	}
	if _, first := c.r.Peek(1); first != nil {
		res.outcome = silent
		if timedOutBy(err) || timedOutBy(first) {
			res.outcome = timedOut
		}
		return false
	}
	resp, err := readAnswer(c.r, r.head)
	if err == nil {
		_, err = io.Copy(io.Discard, resp.Body)
	}
	if err != nil {
		res.outcome = broken
		if timedOutBy(err) {
			res.outcome = timedOut
		}
		return false
	}
	res.outcome, res.status, res.instance = answered, resp.StatusCode, resp.Header.Get("X-Instance")
	return !r.fresh && !resp.Close && c.r.Buffered() == 0
}

// readAnswer passes over informational answers.
func readAnswer(r *bufio.Reader, head *http.Request) (*http.Response, error) {
	for {
		resp, err := http.ReadResponse(r, head)
		if err != nil || resp.StatusCode >= 200 {
			return resp, err
		}
		if resp.StatusCode == http.StatusSwitchingProtocols {
			return nil, errors.New("an answer that changes the protocol, unasked")
		}
	}
}

func timedOutBy(err error) bool {
	var timeout net.Error
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded) ||
		errors.As(err, &timeout) && timeout.Timeout()
}
