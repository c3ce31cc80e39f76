package main

import (
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/supervisord/supervisord/supervisor"
)

// runFlags are the flags of the daemon.
type runFlags struct {
	options   supervisor.Options
	tokenFile string
	logLevel  string
	logFormat string
}

func (f *runFlags) register(fs *pflag.FlagSet) {
	o := &f.options
	*o = supervisor.DefaultOptions()
	fs.StringVar(&o.Config, "config", o.Config, "the compose file")
	fs.StringVar(&o.StateDir, "state-dir", o.StateDir, "directory of the replicated state")
	fs.StringVar(&o.RunDir, "run-dir", o.RunDir, "directory of the API's unix socket")
	fs.StringVar(&o.Host, "host", "", "this host's name in the cluster (default what init or join was told, else the machine's name)")
	fs.StringVar(&o.Address, "address", "", "IP address of this host that instances are published on (default what init or join was told, else 127.0.0.1)")
	fs.StringVar(&o.PeerListen, "peer-listen", "", "IP:port for the other hosts (default the one that init or join was told)")
	fs.StringToStringVar(&o.Labels, "label", nil, "label of this host, as zone=east, for placement constraints")
	fs.DurationVar(&o.HostGrace, "host-grace", o.HostGrace, "how long another host may be silent before its instances are replaced")
	fs.BoolVar(&o.WAN, "wan", false, "the hosts are far from each other: wait longer before a leader is missed; the same on all of them")
	fs.StringVar(&o.Listen, "listen", o.Listen, "TCP address of the API and the page; empty for none")
	fs.StringVar(&f.tokenFile, "token-file", "", "file with the token that allows changing calls over TCP")
	fs.StringVar(&o.Docker, "docker-host", "", "address of the container engine (default DOCKER_HOST or its socket)")
	fs.StringVar(&o.Nginx.Binary, "nginx", o.Nginx.Binary, "nginx binary")
	fs.StringVar(&o.Nginx.Conf, "nginx-conf", o.Nginx.Conf, "nginx's main configuration; it must include the generated sites")
	fs.StringVar(&o.Nginx.Dir, "nginx-dir", o.Nginx.Dir, "directory of the generated sites")
	fs.StringVar(&o.Nginx.PIDFile, "nginx-pid", o.Nginx.PIDFile, "file with the process id of nginx's master")
	fs.StringVar(&o.Nginx.AccessLog, "nginx-access-log", o.Nginx.AccessLog, "nginx's access log, read to know what clients get from the instances")
	fs.StringVar(&o.Nginx.ErrorLog, "nginx-error-log", o.Nginx.ErrorLog, "nginx's error log, quoted when a reload fails")
	fs.StringSliceVar(&o.Nginx.Listen, "nginx-listen", o.Nginx.Listen, "public addresses, where the compose file names none")
	fs.StringSliceVar(&o.Nginx.ListenTLS, "nginx-listen-tls", o.Nginx.ListenTLS, "public addresses for TLS, where the compose file names none")
	fs.StringVar(&o.Nginx.Challenge, "nginx-challenge", o.Nginx.Challenge, "loopback address that nginx sends a CA's questions to; port 0 for any")
	fs.StringVar(&o.Nginx.Status, "nginx-status", o.Nginx.Status, "loopback address of nginx's local status server")
	fs.StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
	fs.StringVar(&f.logFormat, "log-format", "text", "text or json")
}

// complete fills in what depends on the machine and reads the token.
func (f *runFlags) complete(e env) error {
	o := &f.options
	o.Version = versionString()
	o.Environ = e.vars
	o.Getenv = func(name string) string {
		value, _ := e.lookup(name)
		return value
	}
	if f.tokenFile != "" {
		token, err := os.ReadFile(f.tokenFile)
		if err != nil {
			return fmt.Errorf("--token-file: %w", err)
		}
		if o.Token = strings.TrimSpace(string(token)); len(o.Token) < 16 {
			return fmt.Errorf("--token-file: %s: want a token of 16 characters at least", f.tokenFile)
		}
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(f.logLevel)); err != nil {
		return fmt.Errorf("--log-level: %q: want debug, info, warn or error", f.logLevel)
	}
	opts := &slog.HandlerOptions{Level: level}
	switch f.logFormat {
	case "text":
		o.Log = slog.New(slog.NewTextHandler(e.err, opts))
	case "json":
		o.Log = slog.New(slog.NewJSONHandler(e.err, opts))
	default:
		return fmt.Errorf("--log-format: %q: want text or json", f.logFormat)
	}
	return nil
}

func newRun(e env) *cobra.Command {
	f := &runFlags{}
	c := &cobra.Command{
		Use:   "run",
		Short: "Run the daemon of this host",
		Long: `run is the daemon. It works until SIGTERM or SIGINT and leaves everything that
it runs as it is: containers and nginx go on without it, and its next start
takes them up again.`,
		Args: want(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.complete(e); err != nil {
				return usage(err)
			}
			// systemd's reload; without this it would end the daemon.
			hup := make(chan os.Signal, 1)
			signal.Notify(hup, syscall.SIGHUP)
			defer signal.Stop(hup)
			return supervisor.Run(cmd.Context(), f.options)
		},
	}
	f.register(c.Flags())
	return c
}
