package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/supervisord/supervisord/supervisor/api"
)

// env is what a command may use of the process it runs in.
type env struct {
	// vars are the environment as "NAME=value".
	vars []string
	in   io.Reader
	out  io.Writer
	err  io.Writer
	// to is where the daemon is; the global flags fill it in.
	to *connection
}

// connection are the global flags.
type connection struct {
	socket, url, token string
}

const defaultSocket = "/run/supervisord/supervisord.sock"

func (c *connection) register(fs *pflag.FlagSet) {
	fs.StringVar(&c.socket, "socket", defaultSocket, "unix socket of the daemon")
	fs.StringVar(&c.url, "url", "", "http://host:port of a daemon, instead of the socket")
	fs.StringVar(&c.token, "token", "", "token for changing calls over --url")
}

// client is one that the caller must close.
func (e env) client() (*api.Client, error) {
	c, err := api.NewClient(api.Target{Socket: e.to.socket, URL: e.to.url, Token: e.to.token})
	if err != nil {
		return nil, usage(err)
	}
	return c, nil
}

// lookup returns a variable; the last of several counts.
func (e env) lookup(name string) (value string, ok bool) {
	for _, v := range e.vars {
		if n, text, found := strings.Cut(v, "="); found && n == name {
			value, ok = text, true
		}
	}
	return value, ok
}

// variable is the environment variable of a flag.
func variable(flag string) string {
	return "SUPERVISORD_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// fill gives the flags that are not on the command line the value of their
// variable, where that is set.
func (e env) fill(fs *pflag.FlagSet) error {
	var wrong error
	fs.VisitAll(func(f *pflag.Flag) {
		value, set := e.lookup(variable(f.Name))
		if f.Changed || !set || !hasVariable(f) || wrong != nil {
			return
		}
		if err := fs.Set(f.Name, value); err != nil {
			wrong = usage(fmt.Errorf("%s: %w", variable(f.Name), err))
		}
	})
	return wrong
}

func hasVariable(f *pflag.Flag) bool { return f.Name != "help" }

// nameVariables adds to the help of each flag which variable it has.
func nameVariables(c *cobra.Command) {
	name := func(f *pflag.Flag) {
		if note := " [" + variable(f.Name) + "]"; hasVariable(f) && !strings.HasSuffix(f.Usage, note) {
			f.Usage += note
		}
	}
	c.Flags().VisitAll(name)
	c.PersistentFlags().VisitAll(name)
	for _, sub := range c.Commands() {
		nameVariables(sub)
	}
}
