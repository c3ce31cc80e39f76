package main

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"

	"github.com/supervisord/supervisord/supervisor"
)

func newRecover(e env) *cobra.Command {
	o := supervisor.RecoverOptions{}
	var yes bool
	c := &cobra.Command{
		Use:   "recover",
		Short: "Go on with this host alone when most of the cluster is lost for good",
		Long: `recover makes this host the only voter of its cluster, from the state that it
has: for when so many hosts are lost for good that the rest cannot decide any
more. Choose the host whose log is the longest (recover without --yes tells).

The daemon must be stopped. Hosts that are given up must never come back with
the state they had: remove their state directory, take them out with
"supervisord hosts remove NAME", and let them join anew.`,
		Args: want(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.Log = slog.New(slog.NewTextHandler(e.err, &slog.HandlerOptions{Level: slog.LevelWarn}))
			if !yes {
				would, err := supervisor.Recoverable(o)
				if err != nil {
					return fmt.Errorf("recover: %w", err)
				}
				e.screen().printf("The log of %s ends with entry %d of term %d.\n", would.Host, would.Index, would.Term)
				return wrongUsage(cmd, errors.New("nothing is changed without --yes: this host would go on alone, and what only the others had would be gone"))
			}
			r, err := supervisor.Recover(cmd.Context(), o)
			if err != nil {
				return fmt.Errorf("recover: %w", err)
			}
			e.screen().printf("%s is the only voter now, with all that its log held, up to entry %d.\n", r.Host, r.Index)
			e.screen().printf("Start the daemon: systemctl start supervisord\n")
			for _, name := range r.Lost {
				e.screen().printf("Then: supervisord hosts remove %s\n", name)
			}
			if len(r.Lost) > 0 {
				e.screen().printf("%s must never come back with the state they had; remove it and let them join anew.\n", strings.Join(r.Lost, ", "))
			}
			return nil
		},
	}
	c.Flags().StringVar(&o.StateDir, "state-dir", supervisor.DefaultOptions().StateDir, "directory of the replicated state")
	c.Flags().BoolVar(&yes, "yes", false, "do it")
	return c
}
