package probe

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// moment is for how long a TCP check watches its connection.
const moment = 20 * time.Millisecond

// askTCP sees whether the connection stays open for a moment. A connection
// alone says little: the proxy that the engine puts before a port published on
// a loopback address accepts for a container that does not listen yet, and then
// hangs up, which takes half a millisecond.
func askTCP(conn net.Conn) error {
	// The check's own end moves this forward, never back, as it is bound
	// before; should it be lost here, then the moment is over soon.
	if err := conn.SetReadDeadline(time.Now().Add(moment)); err != nil {
		return err
	}
	_, err := conn.Read(make([]byte, 1))
	switch {
	case err == nil, errors.Is(err, os.ErrDeadlineExceeded):
		// A server that speaks first, or one that waits for its client to.
		return nil
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		return badAnswer("hung up at once; does anything listen behind the published port?")
	}
	return err
}
