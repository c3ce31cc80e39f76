package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/supervisord/supervisord/supervisor/api"
)

func newLogs(e env) *cobra.Command {
	var q api.LogsQuery
	var since string
	c := &cobra.Command{
		Use:   "logs SERVICE",
		Short: "Show the logs of all instances of a service, with their names",
		Long: `Show the logs of all instances of a service as one, in the order of time, each
line after the name of its instance. With -f it goes on with what they write,
those that come later included.`,
		Args:              want("SERVICE"),
		ValidArgsFunction: services(e),
		RunE: func(cmd *cobra.Command, args []string) error {
			var err error
			if q.Since, err = parseSince(since, time.Now()); err != nil {
				return wrongUsage(cmd, err)
			}
			if q.Tail < 0 {
				return wrongUsage(cmd, fmt.Errorf("--tail %d: want a number of lines, or 0 for all", q.Tail))
			}
			client, err := e.client()
			if err != nil {
				return err
			}
			defer client.Close()
			err = client.Logs(cmd.Context(), args[0], q, e.out)
			if q.Follow && errors.Is(err, context.Canceled) {
				return nil
			}
			if err != nil {
				return fmt.Errorf("logs: %w", err)
			}
			return nil
		},
	}
	c.Flags().BoolVarP(&q.Follow, "follow", "f", false, "go on with what is written")
	c.Flags().StringVar(&since, "since", "", "begin at a time (2026-03-01T12:00:00Z) or that long ago (10m)")
	c.Flags().IntVar(&q.Tail, "tail", 0, "last lines of each instance; 0 for all")
	c.Flags().BoolVar(&q.Timestamps, "timestamps", false, "print the time of each line")
	return c
}

// parseSince reads a time or an age; zero for all.
func parseSince(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return t, nil
	}
	return time.Time{}, fmt.Errorf("--since %q: want a time as 2026-03-01T12:00:00Z or an age as 10m", text)
}
