package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/supervisord/supervisord/supervisor/api"
)

func newToken(e env) *cobra.Command {
	c := &cobra.Command{
		Use:   "token",
		Short: "Make, list and revoke the tokens that hosts join with",
		Args:  noSuchCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			fmt.Fprintln(e.err, cmd.UsageString())
			return wrongUsage(cmd, fmt.Errorf("want create, list or revoke"))
		},
	}
	c.AddCommand(newTokenCreate(e), newTokenList(e), newTokenRevoke(e))
	return c
}

func newTokenCreate(e env) *cobra.Command {
	var ttl time.Duration
	c := &cobra.Command{
		Use:   "create",
		Short: "Make a token and print the line that lets another host join",
		Args:  want(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return e.withClient(func(client *api.Client) error {
				t, err := client.CreateToken(cmd.Context(), ttl)
				if err != nil {
					return fmt.Errorf("token: %w", err)
				}
				e.invite(t.Address, t.Token, t.Expires)
				return nil
			})
		},
	}
	c.Flags().DurationVar(&ttl, "ttl", 24*time.Hour, "how long it is good for, a minute to 30 days")
	return c
}

func newTokenList(e env) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "list",
		Short: "List the tokens; their secrets are not kept",
		Args:  want(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return e.withClient(func(client *api.Client) error {
				answer, err := client.Tokens(cmd.Context())
				if err != nil {
					return fmt.Errorf("token: %w", err)
				}
				if asJSON {
					return printJSON(e.out, answer)
				}
				rows := [][]cell{cells("TOKEN", "CREATED", "EXPIRES")}
				for _, t := range answer.Tokens {
					expires := cell{text: stamp(t.Expires)}
					if t.Expired {
						expires = cell{expires.text + " (expired)", faint}
					}
					rows = append(rows, []cell{{text: t.ID}, {text: stamp(t.Created)}, expires})
				}
				e.screen().table(rows)
				return nil
			})
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func newTokenRevoke(e env) *cobra.Command {
	return &cobra.Command{
		Use:   "revoke ID",
		Short: "End a token before its time",
		Args:  want("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return e.withClient(func(client *api.Client) error {
				if _, err := client.RevokeToken(cmd.Context(), args[0]); err != nil {
					return fmt.Errorf("token: %w", err)
				}
				e.screen().printf("token %s is revoked\n", args[0])
				return nil
			})
		},
	}
}
