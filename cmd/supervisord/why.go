package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/supervisord/supervisord/autoscale"
	"github.com/supervisord/supervisord/supervisor/api"
)

func newWhy(e env) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:               "why SERVICE",
		Short:             "Explain the latest decision about a service, with its numbers",
		Args:              want("SERVICE"),
		ValidArgsFunction: services(e),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := e.client()
			if err != nil {
				return err
			}
			defer client.Close()
			x, err := client.Decision(cmd.Context(), args[0])
			if err != nil {
				return fmt.Errorf("why: %w", err)
			}
			if asJSON {
				return printJSON(e.out, x)
			}
			e.screen().why(x)
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func (s screen) why(x api.Explanation) {
	s.printf("%s\n", x.Sentence)
	var rows [][]cell
	add := func(name, text string) {
		if text != "" {
			rows = append(rows, []cell{{name, faint}, {text: text}})
		}
	}
	if d := x.Latest; d != nil {
		s.printf("\n")
		s.table(measureRows(*d))
		add("decided", stamp(d.At))
		add("reason", string(d.Reason))
		add("count", fmt.Sprintf("%d in force, %d wanted by the load, %d decided", d.From, d.Wanted, d.To))
		add("formula", d.Formula)
		add("limits", limitsLine(d.Limits))
		add("instances", fmt.Sprintf("%d ready (%d measured, %d missing, %d warming up), %d starting", d.Ready, d.Counted, d.Missing, d.Warming, d.Starting))
		if !d.Until.IsZero() {
			add("cooldown", "until "+stamp(d.Until))
		}
	}
	if p := x.Policy; p != nil {
		add("bounds", fmt.Sprintf("min %d, max %d", p.Min, p.Max))
	}
	if x.Hold != nil {
		add("hold", fmt.Sprintf("%d, by an operator; supervisord scale %s auto gives it back", *x.Hold, x.Service))
	}
	if x.Changed != nil {
		add("last change", stamp(x.Changed.At)+" "+x.ChangedSentence)
	}
	if f := x.Failures; f != nil {
		add("failures", fmt.Sprintf("%d in a row, the last at %s: %s", f.Count, stamp(f.Last), f.Reason))
	}
	add("pending", x.Pending)
	if len(rows) > 0 {
		s.printf("\n")
		s.table(rows)
	}
}

// measureRows are the metrics that the policy looks at: the mean over the
// window of growing, and over the longer one of shrinking.
func measureRows(d autoscale.Decision) [][]cell {
	rows := [][]cell{cells("METRIC", "SHORT MEAN", "LONG MEAN", "OUT ABOVE", "IN BELOW")}
	for _, m := range []struct {
		name string
		autoscale.Measure
	}{{"cpu", d.CPU}, {"memory", d.Memory}} {
		if m.Band != (autoscale.Band{}) {
			rows = append(rows, cells(m.name, percent(m.Out), percent(m.In), percent(m.Band.Above), percent(m.Band.Below)))
		}
	}
	return rows
}

func limitsLine(limits []autoscale.Limit) string {
	var parts []string
	for _, l := range limits {
		parts = append(parts, fmt.Sprintf("%s %d → %d", l.Reason, l.From, l.To))
	}
	return strings.Join(parts, ", ")
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
