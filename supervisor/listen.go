package supervisor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/supervisord/supervisord/supervisor/api"
)

// listeners are the API's addresses, bound before anything serves, so that a
// taken port is known before anything else has happened.
type listeners struct {
	unix net.Listener
	tcp  net.Listener // nil where there is none
	// challenge is where nginx sends a CA's questions; who serves it closes it.
	challenge net.Listener
}

func listen(o Options) (*listeners, error) {
	if err := os.MkdirAll(o.RunDir, 0o755); err != nil {
		return nil, fmt.Errorf("run directory: %w", err)
	}
	l := &listeners{}
	var err error
	if l.unix, err = listenUnix(o.Socket()); err != nil {
		return nil, err
	}
	if l.challenge, err = net.Listen("tcp", o.Nginx.Challenge); err != nil {
		return nil, errors.Join(fmt.Errorf("address for a CA's questions (--nginx-challenge): %w", err), l.unix.Close())
	}
	if o.Listen == "" {
		return l, nil
	}
	if l.tcp, err = net.Listen("tcp", o.Listen); err != nil {
		return nil, errors.Join(fmt.Errorf("API address (--listen): %w", err), l.unix.Close(), l.challenge.Close())
	}
	return l, nil
}

// listenUnix binds a socket that only root may use. The socket of a daemon
// that was killed is in the way and answers nobody: it is replaced. One that
// answers belongs to a daemon that runs.
func listenUnix(path string) (net.Listener, error) {
	if c, err := net.DialTimeout("unix", path, time.Second); err == nil {
		return nil, errors.Join(fmt.Errorf("%s answers: another supervisord runs here", path), c.Close())
	}
	// Bound aside with its final mode and renamed, the socket is never open to
	// others, not even for a moment.
	aside := filepath.Join(filepath.Dir(path), ".new-"+filepath.Base(path))
	if err := os.Remove(aside); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("API socket: %w", err)
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: aside, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("API socket: %w", err)
	}
	l.SetUnlinkOnClose(false)
	if err := errors.Join(os.Chmod(aside, 0o600), os.Rename(aside, path)); err != nil {
		return nil, errors.Join(fmt.Errorf("API socket: %w", err), l.Close())
	}
	return l, nil
}

func (l *listeners) close() error {
	if l == nil {
		return nil
	}
	errs := []error{ignoreClosed(l.unix.Close()), ignoreClosed(l.challenge.Close())}
	if l.tcp != nil {
		errs = append(errs, ignoreClosed(l.tcp.Close()))
	}
	return errors.Join(errs...)
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// addr is the API's TCP address, nil where there is none.
func (l *listeners) addr() net.Addr {
	if l.tcp == nil {
		return nil
	}
	return l.tcp.Addr()
}

// serve answers on all listeners until the context ends.
func (l *listeners) serve(ctx context.Context, b api.Backend, o Options) error {
	g, ctx := errgroup.WithContext(ctx)
	one := func(on net.Listener, opts api.Options) {
		opts.Log, opts.Stopping = o.Log.With("part", "api"), ctx.Done()
		g.Go(func() error {
			h, err := api.Handler(b, opts)
			if err != nil {
				return fmt.Errorf("API on %s: %w", on.Addr(), err)
			}
			return api.Serve(ctx, on, h, opts.Log)
		})
	}
	one(l.unix, api.Options{Trusted: true})
	if l.tcp != nil {
		one(l.tcp, api.Options{Token: o.Token})
	}
	return g.Wait()
}
