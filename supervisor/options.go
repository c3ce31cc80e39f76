package supervisor

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/supervisord/supervisord/supervisor/plan"
)

// Options are the daemon's paths, addresses and names. DefaultOptions are
// those of a systemd service on a plain host.
type Options struct {
	// Config is the compose file, StateDir holds the replicated log and
	// snapshots, RunDir the unix socket.
	Config   string
	StateDir string
	RunDir   string
	// Host is this host's name in the cluster; Address is where its instances
	// are published, an IP of this host that all load balancers reach. Empty:
	// what init or join have written, else the machine's name, and loopback.
	Host    string
	Address string
	// PeerListen is the "IP:port" for the other hosts; empty for the one that
	// they are told. It is not used before init or join.
	PeerListen string
	// Labels are what placement constraints ask for.
	Labels map[string]string
	// HostGrace is how long another host may be silent before its instances
	// are replaced.
	HostGrace time.Duration
	// WAN fits the log's timing to hosts that are far from each other.
	WAN bool
	// Listen is the API's TCP address; "" for none. Token allows changing
	// calls over it; "" allows none.
	Listen string
	Token  string
	// Docker is the engine's address; "" for DOCKER_HOST or its socket.
	Docker string
	Nginx  NginxOptions
	// Version is what the daemon says of itself.
	Version string
	Log     *slog.Logger
	// Getenv is the environment for the compose file's variables and for
	// systemd's notification socket.
	Getenv func(string) string
	// Environ lists it as "NAME=value".
	Environ []string
}

// NginxOptions say where this host's nginx is.
type NginxOptions struct {
	Binary string
	// Conf is the main configuration; it must include Dir/current/*.conf.
	Conf string
	Dir  string
	// PIDFile is the master's, ErrorLog is quoted in errors.
	PIDFile  string
	ErrorLog string
	// AccessLog is read to know what clients get from the instances; lines that
	// are not in the form of our main configuration tell nothing.
	AccessLog string
	// Listen are the public addresses where the compose file names none.
	Listen []string
	// ListenTLS are those for TLS where the compose file names none.
	ListenTLS []string
	// Challenge is the loopback address that nginx sends a CA's questions to;
	// port 0 for any.
	Challenge string
	// Status is the loopback address of the local status server.
	Status string
}

// DefaultOptions are the paths and addresses of an installed daemon.
func DefaultOptions() Options {
	return Options{
		Config:   "/etc/supervisord/docker-compose.prod.yml",
		StateDir: "/var/lib/supervisord",
		RunDir:   "/run/supervisord",
		Listen:   "127.0.0.1:9370",

		HostGrace: plan.DefaultGrace,
		Nginx: NginxOptions{
			Binary:    "/usr/sbin/nginx",
			Conf:      "/etc/nginx/nginx.conf",
			Dir:       "/etc/nginx/supervisord.d",
			PIDFile:   "/run/nginx.pid",
			ErrorLog:  "/var/log/nginx/error.log",
			AccessLog: "/var/log/nginx/access.log",
			Listen:    []string{"80"},
			Status:    "127.0.0.1:9371",
			ListenTLS: []string{"443"},
			Challenge: "127.0.0.1:9372",
		},
		Log:     slog.Default(),
		Getenv:  os.Getenv,
		Environ: os.Environ(),
	}
}

// SocketName is the unix socket's name inside RunDir.
const SocketName = "supervisord.sock"

// Socket is the path of the API's unix socket.
func (o Options) Socket() string { return filepath.Join(o.RunDir, SocketName) }

// complete fills in what init or join have written, and the defaults of the
// machine.
func (o *Options) complete(m *membership) error {
	if m != nil {
		if o.Host != "" && o.Host != m.Host {
			return fmt.Errorf("host: %q: this host has joined its cluster as %q, and a host's name cannot change", o.Host, m.Host)
		}
		o.Host = m.Host
		o.Address = cmp.Or(o.Address, m.Address)
		o.PeerListen = cmp.Or(o.PeerListen, m.Advertise)
	}
	if o.Host == "" {
		name, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("name of this machine (or give --host): %w", err)
		}
		o.Host = name
	}
	o.Address = cmp.Or(o.Address, "127.0.0.1")
	return nil
}

// Validate says what is wrong with the options, all of it.
func (o Options) Validate() error {
	var errs []error
	for _, p := range []struct{ name, value string }{
		{"config", o.Config}, {"state-dir", o.StateDir}, {"run-dir", o.RunDir},
		{"nginx-conf", o.Nginx.Conf}, {"nginx-dir", o.Nginx.Dir}, {"nginx-pid", o.Nginx.PIDFile},
		{"nginx-access-log", o.Nginx.AccessLog},
	} {
		if !filepath.IsAbs(p.value) {
			errs = append(errs, fmt.Errorf("%s: %q: want an absolute path", p.name, p.value))
		}
	}
	if o.Host == "" || strings.ContainsAny(o.Host, " /\n") {
		errs = append(errs, fmt.Errorf("host: %q: want a name without spaces and slashes", o.Host))
	}
	ip := net.ParseIP(o.Address)
	switch {
	case ip == nil:
		errs = append(errs, fmt.Errorf("address: %q: want an IP address of this host", o.Address))
	case ip.IsUnspecified():
		errs = append(errs, fmt.Errorf("address: %q: want one address of this host; published on all of them, instances could be reached past the firewall", o.Address))
	}
	if err := loopback(o.Nginx.Status); err != nil {
		errs = append(errs, fmt.Errorf("nginx-status: %q: %w", o.Nginx.Status, err))
	}
	if err := loopback(o.Nginx.Challenge); err != nil {
		errs = append(errs, fmt.Errorf("nginx-challenge: %q: %w", o.Nginx.Challenge, err))
	}
	if o.Listen != "" {
		if _, _, err := net.SplitHostPort(o.Listen); err != nil {
			errs = append(errs, fmt.Errorf("listen: %q: want address:port: %w", o.Listen, err))
		}
	}
	if o.PeerListen != "" {
		if _, _, err := net.SplitHostPort(o.PeerListen); err != nil {
			errs = append(errs, fmt.Errorf("peer-listen: %q: want IP:port: %w", o.PeerListen, err))
		}
	}
	if o.HostGrace < time.Second {
		errs = append(errs, fmt.Errorf("host-grace: %s: want a second or more", o.HostGrace))
	}
	if o.Log == nil || o.Getenv == nil {
		errs = append(errs, errors.New("log and getenv are required"))
	}
	return errors.Join(errs...)
}

func loopback(address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("want a loopback address:port: %w", err)
	}
	if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
		return errors.New("want a loopback address, as 127.0.0.1:9371")
	}
	return nil
}

// How often things are done that no event asks for.
const (
	// defaultSampleEvery is the interval where no service wants another.
	defaultSampleEvery = time.Second
	healthEvery        = 10 * time.Second
	// planAtLeast is how often the leader plans when nothing happens, so that
	// time itself can change a decision.
	planAtLeast = time.Second
)
