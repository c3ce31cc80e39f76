package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/supervisord/supervisord/raftstore/internal/raftlog"
	"github.com/supervisord/supervisord/raftstore/pki"
)

// The protocols.
const (
	protoRaft = "supervisord-raft/1"
	protoRPC  = "supervisord-rpc/1"
	protoJoin = "supervisord-join/1"
)

const (
	handshakeWithin = 5 * time.Second
	// dialWithin is for hosts of one network: one that does not answer by then
	// is not there.
	dialWithin = time.Second
	// raftWithin bounds one exchange of the log.
	raftWithin = 2 * time.Second
	keepAlive  = 15 * time.Second
	// acceptAgain is the pause after the system gave no connection: it is
	// out of files or of memory.
	acceptAgain = 100 * time.Millisecond
)

// Options say where a server listens and who it is.
type Options struct {
	// Listen is the address to bind, Advertise what the others dial and the
	// log knows; both "IP:port".
	Listen, Advertise string
	Identity          pki.Identity
	// Denied says whether a server was removed; nobody was where it is nil.
	// It is asked often and must be quick.
	Denied func(id string) bool
	Log    *slog.Logger
}

// Wire is a bound port. It is safe for concurrent use.
type Wire struct {
	options   Options
	listener  net.Listener
	transport *raft.NetworkTransport
	trust     atomic.Pointer[trust]
	// raft, rpc and join take the connections of their protocol.
	raft, rpc, join *queue
	conns           conns
	strangers       strangers
	closed          chan struct{}
	once            sync.Once
	wg              sync.WaitGroup
}

// Listen binds the port and takes connections of the log at once; the others
// wait for Serve. The caller must Close it.
func Listen(o Options) (*Wire, error) {
	if o.Log == nil {
		return nil, errors.New("wire: a logger is required")
	}
	if o.Denied == nil {
		o.Denied = func(string) bool { return false }
	}
	advertise, err := net.ResolveTCPAddr("tcp", o.Advertise)
	if err != nil || advertise.IP == nil || advertise.IP.IsUnspecified() || advertise.Port == 0 {
		return nil, fmt.Errorf("wire: %q: want the IP:port that the other servers dial", o.Advertise)
	}
	w := &Wire{
		options: o, strangers: strangers{log: o.Log}, closed: make(chan struct{}),
		conns: conns{open: map[net.Conn]struct{}{}, greeting: map[string]int{}},
	}
	if err := w.SetIdentity(o.Identity); err != nil {
		return nil, err
	}
	if w.listener, err = net.Listen("tcp", o.Listen); err != nil {
		return nil, fmt.Errorf("wire: %w", err)
	}
	w.raft, w.rpc, w.join = newQueue(advertise), newQueue(advertise), newQueue(advertise)
	w.transport = raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: stream{w.raft, w}, MaxPool: 3, Timeout: raftWithin, Logger: raftlog.New(o.Log),
	})
	w.wg.Go(w.accept)
	return w, nil
}

// Transport is the log's. Closing it leaves the port open for the rest.
func (w *Wire) Transport() raft.Transport { return w.transport }

// Addr is the address that is bound.
func (w *Wire) Addr() net.Addr { return w.listener.Addr() }

// Close ends the port and all its connections, and waits for its goroutines.
func (w *Wire) Close() error {
	var err error
	w.once.Do(func() {
		close(w.closed)
		err = errors.Join(w.listener.Close(), w.transport.Close(), w.raft.Close(), w.rpc.Close(), w.join.Close())
		w.transport.CloseStreams()
		w.conns.close()
	})
	w.wg.Wait()
	return err
}

// accept takes connections until the port is closed.
func (w *Wire) accept() {
	for {
		c, err := w.listener.Accept()
		if err != nil {
			select {
			case <-w.closed:
				return
			default:
			}
			w.options.Log.Error("cannot take a connection, trying again", "err", err)
			select {
			case <-w.closed:
				return
			case <-time.After(acceptAgain):
			}
			continue
		}
		if !w.conns.greet(c) {
			w.strangers.turnedAway(c.RemoteAddr(), errors.New("too many connections are in their handshake"))
			_ = c.Close()
			continue
		}
		w.wg.Go(func() { w.greet(c) })
	}
}

// greet does the handshake and hands the connection to whom it is for.
func (w *Wire) greet(c net.Conn) {
	t := tls.Server(c, w.trust.Load().server(w.options.Denied))
	err := errors.Join(c.SetDeadline(time.Now().Add(handshakeWithin)), t.Handshake(), c.SetDeadline(time.Time{}))
	w.conns.greeted(c)
	if err != nil {
		w.turnAway(c, err)
		return
	}
	s := t.ConnectionState()
	peer := ""
	if len(s.PeerCertificates) > 0 {
		// The handshake has checked that there is one.
		peer, _ = pki.ServerOf(s.PeerCertificates[0])
	}
	to := map[string]*queue{protoRaft: w.raft, protoRPC: w.rpc, protoJoin: w.join}[s.NegotiatedProtocol]
	if to == nil {
		w.turnAway(c, errors.New("it speaks none of our protocols"))
		return
	}
	kept := w.conns.keep(t, peer, w.options.Denied)
	if kept == nil {
		_ = c.Close()
		return
	}
	if !to.put(kept) {
		_ = kept.Close()
	}
}

func (w *Wire) turnAway(c net.Conn, err error) {
	_ = c.Close()
	select {
	case <-w.closed:
	default:
		w.strangers.turnedAway(c.RemoteAddr(), err)
	}
}

// dial connects to another server for a protocol.
func (w *Wire) dial(ctx context.Context, address, proto string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialWithin)
	defer cancel()
	d := tls.Dialer{NetDialer: dialer(), Config: w.trust.Load().client(proto, w.options.Denied)}
	return w.dialed(d.DialContext(ctx, "tcp", address))
}

// dialRaft is dial for the log, which has no context.
func (w *Wire) dialRaft(address string, within time.Duration) (net.Conn, error) {
	d := dialer()
	d.Timeout = within
	c, err := tls.DialWithDialer(d, "tcp", address, w.trust.Load().client(protoRaft, w.options.Denied))
	if err != nil {
		return nil, err // A nil *tls.Conn would be a net.Conn.
	}
	return w.dialed(c, nil)
}

func dialer() *net.Dialer { return &net.Dialer{KeepAlive: keepAlive} }

// dialed keeps a connection that this server has begun.
func (w *Wire) dialed(c net.Conn, err error) (net.Conn, error) {
	if err != nil {
		return nil, err
	}
	t, ok := c.(*tls.Conn)
	if !ok {
		return nil, errors.Join(errors.New("wire: a connection without TLS"), c.Close())
	}
	peer, err := pki.ServerOf(t.ConnectionState().PeerCertificates[0])
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	kept := w.conns.keep(t, peer, w.options.Denied)
	if kept == nil {
		return nil, errors.Join(net.ErrClosed, c.Close())
	}
	return kept, nil
}
