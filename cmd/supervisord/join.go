package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/supervisord/supervisord/supervisor"
)

// maxToken bounds what is read as a token.
const maxToken = 4 << 10

func newJoin(e env) *cobra.Command {
	o := supervisor.JoinOptions{}
	var noStart bool
	var tokenFile string
	c := &cobra.Command{
		Use:   "join ADDRESS",
		Short: "Make this host a member of a cluster",
		Long: `join makes this host a member of the cluster that ADDRESS, any host of it,
belongs to: it gets this host its certificate and starts the daemon where its
unit is installed. "supervisord init" and "supervisord token create" on a host
of the cluster print the line. A token on the command line can be seen by other
users of this machine for a moment; --token - reads it from standard input, and
--token-file from a file.`,
		Args: want("ADDRESS"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.To = args[0]
			var err error
			if o.Token, err = e.token(o.Token, tokenFile); err != nil {
				return wrongUsage(cmd, err)
			}
			joined, err := supervisor.Join(cmd.Context(), o)
			if err != nil {
				return fmt.Errorf("join: %w", err)
			}
			if err := e.startUnit(cmd.Context(), noStart); err != nil {
				return fmt.Errorf("join: %w", err)
			}
			e.screen().printf("%s is a host of cluster %s, at %s\n", joined.Host, joined.Cluster, joined.Advertise)
			return nil
		},
	}
	registerMember(c.Flags(), &o.StateDir, &o.Host, &o.Advertise, &o.Address, &noStart)
	// The global --token is for calls over --url; here it is what lets this
	// host in.
	c.Flags().StringVar(&o.Token, "token", "", "the token, or - for standard input")
	c.Flags().StringVar(&tokenFile, "join-token-file", "", "file with the token")
	return c
}

// token is what the operator gave, wherever it is.
func (e env) token(text, file string) (string, error) {
	switch {
	case text == "" && file == "":
		return "", errors.New("--token or --join-token-file is required; supervisord token create on a host of the cluster makes one")
	case text != "" && file != "":
		return "", errors.New("--token and --join-token-file: want one of them")
	case file != "":
		data, err := os.ReadFile(file)
		return strings.TrimSpace(string(data)), err
	case text == "-":
		data, err := io.ReadAll(io.LimitReader(e.in, maxToken))
		return strings.TrimSpace(string(data)), err
	}
	return text, nil
}

// registerMember adds the flags of a host that becomes a member.
func registerMember(fs *pflag.FlagSet, stateDir, host, advertise, address *string, noStart *bool) {
	fs.StringVar(stateDir, "state-dir", supervisor.DefaultOptions().StateDir, "directory of the replicated state")
	fs.StringVar(host, "host", "", "this host's name in the cluster (default the machine's name)")
	fs.StringVar(advertise, "advertise", "", fmt.Sprintf("IP or IP:port that the other hosts reach this one at (default the address towards them, port %d)", supervisor.PeerPort))
	fs.StringVar(address, "address", "", "IP address of this host that instances are published on (default that of --advertise)")
	fs.BoolVar(noStart, "no-start", false, "do not start the daemon's unit")
}
