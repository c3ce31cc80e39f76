package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/supervisord/supervisord/supervisor/api"
)

func newLeave(e env) *cobra.Command {
	var timeout time.Duration
	c := &cobra.Command{
		Use:   "leave",
		Short: "Drain this host and take it out of the cluster",
		Long: `leave drains this host, waits until nothing is left on it, and takes it out of
the cluster. The daemon then ends by itself and is not started again. A host
that holds data does not leave: move the data first, or use "hosts remove
--abandon-data" on another host. Interrupted, it leaves the host drained;
"hosts resume" gives it back.`,
		Args: want(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return e.withClient(func(client *api.Client) error {
				ctx := cmd.Context()
				status, err := client.Status(ctx)
				if err != nil {
					return fmt.Errorf("leave: %w", err)
				}
				if _, err := client.DrainHost(ctx, status.Host); err != nil {
					return fmt.Errorf("leave: %w", err)
				}
				if err := e.awaitEmpty(ctx, client, status.Host, timeout); err != nil {
					return fmt.Errorf("leave: %w", err)
				}
				if _, err := client.RemoveHost(ctx, status.Host, api.RemoveHost{}); err != nil {
					return fmt.Errorf("leave: %w", err)
				}
				e.screen().printf("%s has left the cluster\n", status.Host)
				return nil
			})
		},
	}
	c.Flags().DurationVar(&timeout, "timeout", defaultDrainTimeout, "how long to wait for the instances to move")
	return c
}
