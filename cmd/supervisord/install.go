package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"
	"github.com/spf13/cobra"

	"github.com/supervisord/supervisord/lbconfig"
	"github.com/supervisord/supervisord/supervisor"
	"github.com/supervisord/supervisord/systemd"
)

// installation puts the daemon onto this host.
type installation struct {
	// root is put before every path; "" on a real host. Then nothing is asked
	// of systemd and nginx.
	root string
	// now starts the daemon; noNginx leaves nginx's configuration alone.
	now, noNginx bool
	// self is the program that runs.
	self string
	say  func(format string, args ...any)
}

// The places of an installation.
const (
	unitPath  = "/etc/systemd/system/" + unitName
	nginxConf = "/etc/nginx/nginx.conf"
	// nginxBefore is what the host's own configuration is kept as.
	nginxBefore = nginxConf + ".before-supervisord"
	// Those of the Debian package.
	packageUnit   = "/lib/systemd/system/" + unitName
	packageBinary = "/usr/bin/supervisord"
)

func newInstall(e env) *cobra.Command {
	i := installation{}
	var unitOnly bool
	var binary string
	c := &cobra.Command{
		Use:   "install",
		Short: "Install the daemon as a service of systemd on this host",
		Long: `install puts this program to ` + systemd.DefaultBinary + `, writes and enables
the unit, and makes nginx's main configuration supervisord's, which includes the
sites that the daemon writes; the one before is kept beside it as
` + nginxBefore + `. It may be run again, to upgrade: the daemon is then
started anew where it runs, and nothing that it has started ends with it.

Where the program and the unit are a package's, they stay the package's.`,
		Args: want(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if unitOnly {
				_, err := e.out.Write(systemd.Unit{Binary: binary}.Render())
				return err
			}
			var err error
			if i.self, err = os.Executable(); err != nil {
				return fmt.Errorf("install: %w", err)
			}
			i.say = func(format string, args ...any) { fmt.Fprintf(e.err, format+"\n", args...) }
			if err := i.do(cmd.Context()); err != nil {
				return fmt.Errorf("install: %w", err)
			}
			return nil
		},
	}
	c.Flags().StringVar(&i.root, "root", "", "install below this directory, and ask nothing of systemd and nginx")
	c.Flags().BoolVar(&i.now, "now", false, "start the daemon")
	c.Flags().BoolVar(&i.noNginx, "no-nginx", false, "leave nginx's configuration alone")
	c.Flags().BoolVar(&unitOnly, "print", false, "print the unit and install nothing")
	c.Flags().StringVar(&binary, "binary", systemd.DefaultBinary, "with --print, where the unit is to find the program")
	return c
}

func (i installation) do(ctx context.Context) error {
	if i.root == "" {
		if os.Geteuid() != 0 {
			return errors.New("this needs root")
		}
		if _, err := os.Stat("/run/systemd/system"); err != nil {
			return errors.New("systemd does not run here; --print prints the unit")
		}
	}
	packaged, err := i.packaged()
	if err != nil {
		return err
	}
	for _, dir := range []string{"/etc/supervisord", supervisor.DefaultOptions().Nginx.Dir} {
		if err := os.MkdirAll(i.root+dir, 0o755); err != nil {
			return err
		}
	}
	if !packaged {
		if err := i.program(); err != nil {
			return err
		}
		if err := i.write(unitPath, systemd.Unit{}.Render(), 0o644); err != nil {
			return err
		}
	}
	if !i.noNginx {
		if err := i.nginx(ctx); err != nil {
			return err
		}
	}
	if i.root != "" {
		return nil
	}
	return i.enable(ctx)
}

// packaged says whether this program and its unit are a package's: then it is
// the package that upgrades them. A unit of ours in /etc would hide the
// package's for good.
func (i installation) packaged() (bool, error) {
	self, err := filepath.EvalSymlinks(i.self)
	if err != nil {
		return false, err
	}
	if self != i.root+packageBinary {
		return false, nil
	}
	unit, err := os.ReadFile(i.root + packageUnit)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if _, err := os.Stat(i.root + unitPath); err == nil {
		return false, fmt.Errorf("%s hides the unit of the package in %s; remove it, and %s", unitPath, packageUnit, systemd.DefaultBinary)
	}
	return strings.Contains(string(unit), packageBinary+" run"), nil
}

// program copies this program to where the unit starts it.
func (i installation) program() error {
	to := i.root + systemd.DefaultBinary
	if same, err := filepath.EvalSymlinks(i.self); err == nil && same == to {
		return nil
	}
	data, err := os.ReadFile(i.self)
	if err != nil {
		return err
	}
	return i.write(systemd.DefaultBinary, data, 0o755)
}

// write puts a file in place, whole.
func (i installation) write(path string, data []byte, mode fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(i.root+path), 0o755); err != nil {
		return err
	}
	if err := renameio.WriteFile(i.root+path, data, mode); err != nil {
		return err
	}
	i.say("wrote %s", i.root+path)
	return nil
}

// nginx makes its main configuration ours. Where nginx refuses it, the one
// before goes on.
func (i installation) nginx(ctx context.Context) error {
	base := lbconfig.Base(lbconfig.DefaultBase())
	was, err := os.ReadFile(i.root + nginxConf)
	switch {
	case err == nil && string(was) == string(base):
		return nil
	case errors.Is(err, fs.ErrNotExist):
		was = nil
	case err != nil:
		return err
	default:
		// What is kept is the host's own, not that of an older supervisord.
		if _, err := os.Stat(i.root + nginxBefore); errors.Is(err, fs.ErrNotExist) {
			if err := i.write(nginxBefore, was, 0o644); err != nil {
				return err
			}
		}
	}
	if err := i.write(nginxConf, base, 0o644); err != nil || i.root != "" {
		return err
	}
	if err := command(ctx, "nginx", "-t"); err != nil {
		if was == nil {
			return err
		}
		return errors.Join(fmt.Errorf("nginx refuses supervisord's main configuration; the one before is back: %w", err), i.write(nginxConf, was, 0o644))
	}
	return command(ctx, "systemctl", "reload-or-restart", "nginx")
}

func (i installation) enable(ctx context.Context) error {
	if err := command(ctx, "systemctl", "daemon-reload"); err != nil {
		return err
	}
	if err := command(ctx, "systemctl", "enable", unitName); err != nil {
		return err
	}
	if i.now {
		return command(ctx, "systemctl", "restart", unitName)
	}
	return command(ctx, "systemctl", "try-restart", unitName)
}

// command runs a program; its error has what the program said.
func command(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
