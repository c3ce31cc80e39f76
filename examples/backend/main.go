// Command backend is a small HTTP service to show scaling with: each request
// burns a known amount of CPU time, and it can be told to be sick, to answer
// with errors, to crash or to take memory. It uses nothing but the standard library and runs alone in
// an image made from scratch. It has no protection: never put it on a public
// address.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

// options come from the environment.
type options struct {
	port       string        // PORT: where to listen
	instance   string        // INSTANCE: the name in answers
	work       time.Duration // WORK_MS: CPU time of a request
	startDelay time.Duration // START_DELAY: before it listens
	stopGrace  time.Duration // STOP_GRACE: how long requests may end after SIGTERM
	fail       float64       // FAIL: share of the requests that are answered with 500
}

func main() {
	log := slog.New(slog.NewJSONHandler(os.Stderr, nil))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	o, err := fromEnv(os.Getenv, os.Hostname)
	if err == nil {
		err = run(ctx, o, log)
	}
	stop()
	if err != nil {
		log.Error("backend ends", "err", err)
		os.Exit(1)
	}
}

func fromEnv(getenv func(string) string, hostname func() (string, error)) (options, error) {
	o := options{port: "4000", work: 5 * time.Millisecond, stopGrace: 10 * time.Second, instance: getenv("INSTANCE")}
	var errs []error
	if v := getenv("PORT"); v != "" {
		if _, err := strconv.ParseUint(v, 10, 16); err != nil {
			errs = append(errs, fmt.Errorf("PORT=%q: want a number from 0 to 65535", v))
		}
		o.port = v
	}
	if v := getenv("WORK_MS"); v != "" {
		d, err := milliseconds(v)
		if err != nil {
			errs = append(errs, fmt.Errorf("WORK_MS: %w", err))
		}
		o.work = d
	}
	if v := getenv("FAIL"); v != "" {
		share, err := shareOf(v)
		if err != nil {
			errs = append(errs, fmt.Errorf("FAIL: %w", err))
		}
		o.fail = share
	}
	for name, to := range map[string]*time.Duration{"START_DELAY": &o.startDelay, "STOP_GRACE": &o.stopGrace} {
		if v := getenv(name); v != "" {
			d, err := time.ParseDuration(v)
			if err != nil || d < 0 {
				errs = append(errs, fmt.Errorf("%s=%q: want a duration, as 500ms or 3s", name, v))
			}
			*to = d
		}
	}
	if o.instance == "" {
		name, err := hostname()
		if err != nil {
			errs = append(errs, fmt.Errorf("host name (or set INSTANCE): %w", err))
		}
		o.instance = name
	}
	return o, errors.Join(errs...)
}

// run waits for the start delay, listens, and serves until ctx ends or the
// service is told to crash.
func run(ctx context.Context, o options, log *slog.Logger) error {
	if o.startDelay > 0 {
		log.Info("starting", "delay", o.startDelay.String())
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(o.startDelay):
		}
	}
	l, err := net.Listen("tcp", ":"+o.port)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	log.Info("listening", "address", l.Addr().String(), "instance", o.instance, "work", o.work.String())
	return serve(ctx, l, o, log)
}

// errCrash is the end that POST /admin/crash asks for.
var errCrash = errors.New("told to crash")

// serve answers on l until ctx ends. Then it lets what is in flight end, within
// the grace: meanwhile it still answers, so that nobody who has not heard of
// the stop yet is refused, but health says 503 and connections are closed after
// their answers.
func serve(ctx context.Context, l net.Listener, o options, log *slog.Logger) error {
	s := newService(o)
	srv := &http.Server{Handler: s.handler(), ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn)}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(l) }()
	select {
	case err := <-ended:
		return fmt.Errorf("serve: %w", err)
	case <-s.crash:
		return errors.Join(errCrash, srv.Close(), ignoreClosed(<-ended))
	case <-ctx.Done():
	}
	log.Info("stopping")
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), o.stopGrace)
	defer cancel()
	s.drain(grace)
	srv.SetKeepAlivesEnabled(false)
	if err := srv.Shutdown(grace); err != nil {
		return errors.Join(fmt.Errorf("requests did not end within %s: %w", o.stopGrace, err), srv.Close(), ignoreClosed(<-ended))
	}
	return ignoreClosed(<-ended)
}

func ignoreClosed(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}
