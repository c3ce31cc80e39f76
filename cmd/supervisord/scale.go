package main

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"
)

// auto is the word that gives a service back to the load.
const auto = "auto"

func newScale(e env) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "scale SERVICE N|auto",
		Short: "Hold a service at a count, or give it back to the load",
		Long: `Hold a service at N instances, within its bounds, until "auto" gives it back
to the load (or to deploy.replicas, where it is not autoscaled). The answer
comes when the wish is committed, not when the instances are there.`,
		Args:              want("SERVICE", "N|auto"),
		ValidArgsFunction: services(e),
		RunE: func(cmd *cobra.Command, args []string) error {
			n, held, err := parseCount(args[1])
			if err != nil {
				return wrongUsage(cmd, err)
			}
			var count *int
			if held {
				count = &n
			}
			client, err := e.client()
			if err != nil {
				return err
			}
			defer client.Close()
			s, err := client.Scale(cmd.Context(), args[0], count)
			if err != nil {
				return fmt.Errorf("scale: %w", err)
			}
			switch {
			case asJSON:
				return printJSON(e.out, s)
			case s.Hold != nil:
				e.screen().printf("%s is held at %d, %d ready\n", s.Name, *s.Hold, s.Phases.Ready)
			default:
				e.screen().printf("%s is no longer held, it stands at %d, %d ready\n", s.Name, s.Desired, s.Phases.Ready)
			}
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// parseCount reads a count to hold a service at, or that it is not to be held.
func parseCount(text string) (n int, held bool, err error) {
	if text == auto {
		return 0, false, nil
	}
	n, err = strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0, false, fmt.Errorf("%q: want a number of instances or auto", text)
	}
	return n, true, nil
}
