package api

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// Timeouts of the server. There is none for writing as a whole, because
// streams have no end; each of their parts has its own.
const (
	readHeaderWithin = 5 * time.Second
	readWithin       = 15 * time.Second
	idleWithin       = 2 * time.Minute
	maxHeader        = 64 << 10
	// shutdownWithin is what requests in flight get to end when the server
	// stops.
	shutdownWithin = 5 * time.Second
)

// Serve serves a handler on a listener until the context ends, lets the
// requests in flight end, and closes the listener. It returns nil when the
// context ended and all went well. Options.Stopping of the handler should be
// closed with the same context; otherwise streams are cut only after 5 s.
func Serve(ctx context.Context, l net.Listener, h http.Handler, log *slog.Logger) error {
	server := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: readHeaderWithin,
		ReadTimeout:       readWithin,
		IdleTimeout:       idleWithin,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
	served := make(chan error, 1)
	var serving sync.WaitGroup
	serving.Go(func() { served <- server.Serve(l) })
	defer serving.Wait()
	select {
	case err := <-served:
		return fmt.Errorf("serve %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownWithin)
	defer cancel()
	err := server.Shutdown(bounded)
	if errors.Is(err, context.DeadlineExceeded) {
		// Whoever is still there is cut off.
		err = server.Close()
	}
	if err != nil {
		return fmt.Errorf("stop serving %s: %w", l.Addr(), err)
	}
	return nil
}
