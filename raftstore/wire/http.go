package wire

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	headerWithin   = 5 * time.Second
	idleFor        = 2 * time.Minute
	shutdownWithin = time.Second
	maxHeader      = 16 << 10
	// Hosts that want to join are strangers yet: they get less time, and few
	// of them at once.
	joinReadWithin  = 10 * time.Second
	joinWriteWithin = time.Minute
	joinIdleFor     = 5 * time.Second
	maxJoining      = 32
	// admissionWithin is longer than dialWithin: an operator waits for it.
	admissionWithin = 5 * time.Second
)

// Serve answers calls of the other servers with rpc, and those of hosts that
// want to join with join, until the context ends; then with its error. It is
// for one call in the port's life.
func (w *Wire) Serve(ctx context.Context, rpc, join http.Handler) error {
	forServers := w.server(rpc)
	forServers.IdleTimeout = idleFor
	forJoining := w.server(join)
	forJoining.ReadTimeout, forJoining.WriteTimeout, forJoining.IdleTimeout = joinReadWithin, joinWriteWithin, joinIdleFor
	forJoining.ConnState = few(maxJoining)

	g, ctx := errgroup.WithContext(ctx)
	serve := func(on *queue, s *http.Server) {
		g.Go(func() error {
			err := s.Serve(on)
			if errors.Is(err, http.ErrServerClosed) {
				return nil
			}
			// Once the context has ended, it does not matter whether the port
			// was closed before the server noticed.
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return err
		})
		g.Go(func() error {
			<-ctx.Done()
			end, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownWithin)
			defer cancel()
			if s.Shutdown(end) != nil {
				// Who is still being answered then is not waited for.
				return errors.Join(ctx.Err(), s.Close())
			}
			return ctx.Err()
		})
	}
	serve(w.rpc, forServers)
	serve(w.join, forJoining)
	return g.Wait()
}

func (w *Wire) server(h http.Handler) *http.Server {
	return &http.Server{
		Handler: h, ReadHeaderTimeout: headerWithin, MaxHeaderBytes: maxHeader,
		ConnContext: withPeer,
		ErrorLog:    slog.NewLogLogger(w.options.Log.Handler(), slog.LevelDebug),
	}
}

// few closes connections beyond a number.
func few(most int64) func(net.Conn, http.ConnState) {
	var n atomic.Int64
	return func(c net.Conn, s http.ConnState) {
		switch s {
		case http.StateNew:
			if n.Add(1) > most {
				_ = c.Close()
			}
		case http.StateClosed, http.StateHijacked:
			n.Add(-1)
		}
	}
}

// peerKey is where a call's context has the server that makes it.
type peerKey struct{}

func withPeer(ctx context.Context, c net.Conn) context.Context {
	if c, ok := c.(*conn); ok && c.peer != "" {
		return context.WithValue(ctx, peerKey{}, c.peer)
	}
	return ctx
}

// Peer is the id of the server that makes a call; "" for a host that wants to
// join.
func Peer(r *http.Request) string {
	id, _ := r.Context().Value(peerKey{}).(string)
	return id
}

// Client makes calls to the other servers, for URLs as "http://IP:port/path":
// what it dials is TLS with this server's certificate. An error of dialing is
// the network's own, wrapped in a *url.Error. The caller's context is the only
// limit to the time that an answer may take.
func (w *Wire) Client() *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			return w.dial(ctx, address, protoRPC)
		},
		MaxIdleConnsPerHost: 4, IdleConnTimeout: idleFor / 2, DisableCompression: true,
	}}
}

// AdmissionClient is for a host that wants to join, for URLs as
// "http://IP:port/path": it talks only to servers of the authority with that
// fingerprint. Its connections are for one call each.
func AdmissionClient(fingerprint string) *http.Client {
	return &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, admissionWithin)
			defer cancel()
			d := tls.Dialer{NetDialer: dialer(), Config: admission(fingerprint)}
			return d.DialContext(ctx, "tcp", address)
		},
		DisableKeepAlives: true, DisableCompression: true,
	}}
}
