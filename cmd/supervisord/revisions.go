package main

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/supervisord/supervisord/supervisor/api"
	"github.com/supervisord/supervisord/supervisor/state"
)

func newRevisions(e env) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "revisions",
		Short: "List the last revisions of the compose file: who, when, what, and how it went",
		Args:  want(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return e.withClient(func(client *api.Client) error {
				answer, err := client.Releases(cmd.Context())
				if err != nil {
					return fmt.Errorf("revisions: %w", err)
				}
				if asJSON {
					return printJSON(e.out, answer)
				}
				e.screen().table(releaseRows(answer.Releases))
				return nil
			})
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.AddCommand(newRevisionsShow(e))
	return c
}

func releaseRows(all []api.Release) [][]cell {
	rows := [][]cell{cells("REVISION", "STATE", "SINCE", "BY", "CHANGE")}
	for _, r := range all {
		st := cell{text: string(r.State)}
		switch r.State {
		case state.ReleaseHealthy:
			st.as = good
		case state.ReleaseFailed, state.ReleasePaused:
			st.as = bad
		case state.ReleaseRolling:
			st.as = warn
		case state.ReleaseSuperseded:
			st.as = faint
		}
		number, change := strconv.FormatUint(r.Revision, 10), r.Change
		if r.InForce {
			number += " *"
		}
		if r.Back != 0 {
			change = fmt.Sprintf("back to revision %d", r.Back)
		}
		if r.Why != "" {
			change += ": " + r.Why
		}
		rows = append(rows, []cell{{text: number}, st, {text: stamp(r.At)}, {text: r.By}, {text: change}})
	}
	return rows
}

func newRevisionsShow(e env) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "show REVISION",
		Short: "Print the compose file of a revision",
		Args:  want("REVISION"),
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := parseRevision(args[0])
			if err != nil {
				return wrongUsage(cmd, err)
			}
			return e.withClient(func(client *api.Client) error {
				r, err := client.Release(cmd.Context(), n)
				if err != nil {
					return fmt.Errorf("revisions: %w", err)
				}
				if asJSON {
					return printJSON(e.out, r)
				}
				_, err = fmt.Fprint(e.out, r.Text)
				return err
			})
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON, with who, when and how it went")
	return c
}

func parseRevision(text string) (uint64, error) {
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("%q: want the number of a revision; supervisord revisions lists them", text)
	}
	return n, nil
}
