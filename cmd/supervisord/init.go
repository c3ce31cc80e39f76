package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/supervisord/supervisord/supervisor"
)

func newInit(e env) *cobra.Command {
	o := supervisor.InitOptions{}
	var noStart bool
	c := &cobra.Command{
		Use:   "init",
		Short: "Make this host the first of a cluster that others can join",
		Long: `init makes this host the first of a cluster that others can join: it makes the
cluster's certificate authority and this host's certificate, starts the daemon
anew where its unit is installed, and prints the line that lets another host
join. What this host runs already stays as it is.`,
		Args: want(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			invitation, err := supervisor.Init(cmd.Context(), o)
			if err != nil {
				return fmt.Errorf("init: %w", err)
			}
			if err := e.startUnit(cmd.Context(), noStart); err != nil {
				return fmt.Errorf("init: %w", err)
			}
			e.invite(invitation.Address, invitation.Token, invitation.Expires)
			return nil
		},
	}
	registerMember(c.Flags(), &o.StateDir, &o.Host, &o.Advertise, &o.Address, &noStart)
	c.Flags().DurationVar(&o.TokenTTL, "token-ttl", 24*time.Hour, "how long the first token is good for")
	return c
}

// invite prints the line that lets another host join: alone on stdout, so that
// it can be piped, what it is on stderr.
func (e env) invite(address, token string, expires time.Time) {
	fmt.Fprintf(e.err, "Until %s, another host joins with:\n", stamp(expires))
	fmt.Fprintf(e.out, "supervisord join %s --token %s\n", address, token)
}
