package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/supervisord/supervisord/supervisor/api"
)

func newHosts(e env) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "hosts",
		Short: "List the hosts of the cluster, drain one, remove one",
		Args:  want(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return e.withClient(func(client *api.Client) error {
				answer, err := client.Status(cmd.Context())
				if err != nil {
					return fmt.Errorf("hosts: %w", err)
				}
				if asJSON {
					return printJSON(e.out, api.Hosts{Hosts: answer.Hosts})
				}
				e.screen().cutOff(answer)
				e.screen().table(hostRows(answer.Hosts, answer.At))
				return nil
			})
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.AddCommand(newHostsDrain(e), newHostsResume(e), newHostsRemove(e))
	return c
}

// withClient calls f with a client and closes it.
func (e env) withClient(f func(*api.Client) error) error {
	client, err := e.client()
	if err != nil {
		return err
	}
	defer client.Close()
	return f(client)
}

// cutOff warns that what follows may be old.
func (s screen) cutOff(a api.Status) {
	if !a.Connected {
		s.printf("%s\n\n", s.paint("This host is cut off: it knows no leader, and what follows may be old.", bad))
	}
}

func hostRows(hosts []api.Host, now time.Time) [][]cell {
	rows := [][]cell{cells("HOST", "STATE", "ROLE", "INSTANCES", "CPUS", "MEMORY", "ADDRESS", "VERSION", "NOTE")}
	for _, h := range hosts {
		st := cell{h.State, good}
		switch h.State {
		case api.HostLost:
			st = cell{h.State + " " + age(now.Sub(h.LostSince)), bad}
		case api.HostDraining:
			st.as = warn
		}
		rows = append(rows, []cell{
			{text: h.Name}, st, {text: h.Role}, {text: fmt.Sprint(h.Instances)},
			{text: fmt.Sprintf("%.3g/%.3g", h.ReservedCPUs, h.CPUs)},
			{text: fmt.Sprintf("%d/%d MiB", h.ReservedMemory>>20, h.Memory>>20)},
			{text: orDash(h.Peer)}, {text: orDash(h.Version)}, {hostNote(h), faint},
		})
	}
	return rows
}

// hostNote is what else is to be known of a host.
func hostNote(h api.Host) string {
	var notes []string
	if h.ClockAhead != 0 {
		notes = append(notes, fmt.Sprintf("its clock is off by %s", time.Duration(h.ClockAhead*float64(time.Second)).Round(time.Second)))
	}
	if h.SpecError != "" {
		notes = append(notes, "its compose file is not in force")
	}
	if len(h.RejectedSites) > 0 {
		notes = append(notes, "nginx refuses "+strings.Join(sortedKeys(h.RejectedSites), ", "))
	}
	if len(h.Data) > 0 {
		notes = append(notes, "holds the data of "+strings.Join(h.Data, ", "))
	}
	for _, k := range sortedKeys(h.Labels) {
		notes = append(notes, k+"="+h.Labels[k])
	}
	return strings.Join(notes, "; ")
}

// hostNames completes the first argument with the names of hosts.
func hostNames(e env) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 || e.fill(cmd.Flags()) != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), completeWithin)
		defer cancel()
		var names []string
		err := e.withClient(func(client *api.Client) error {
			answer, err := client.Hosts(ctx)
			for _, h := range answer.Hosts {
				names = append(names, cobra.CompletionWithDesc(h.Name, h.State))
			}
			return err
		})
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

const defaultDrainTimeout = 10 * time.Minute

func newHostsDrain(e env) *cobra.Command {
	var wait bool
	var timeout time.Duration
	c := &cobra.Command{
		Use:   "drain NAME",
		Short: "Give a host no new instances, and move those that can move",
		Long: `drain takes a host out of placement and moves its instances to others, each
started there before the old one leaves. Instances that own data stay: the data
is there. "hosts resume" gives the host back.`,
		Args:              want("NAME"),
		ValidArgsFunction: hostNames(e),
		RunE: func(cmd *cobra.Command, args []string) error {
			return e.withClient(func(client *api.Client) error {
				h, err := client.DrainHost(cmd.Context(), args[0])
				if err != nil {
					return fmt.Errorf("drain: %w", err)
				}
				if !wait {
					e.screen().printf("%s is being drained, %s left\n", h.Name, counted(h.Instances, "instance"))
					return nil
				}
				if err := e.awaitEmpty(cmd.Context(), client, h.Name, timeout); err != nil {
					return fmt.Errorf("drain: %w", err)
				}
				e.screen().printf("%s is drained\n", h.Name)
				return nil
			})
		},
	}
	c.Flags().BoolVar(&wait, "wait", false, "wait until nothing that can move is left")
	c.Flags().DurationVar(&timeout, "timeout", defaultDrainTimeout, "how long to wait")
	return c
}

// awaitEmpty waits until a host has no instance but those that own data, and
// tells of the progress.
func (e env) awaitEmpty(ctx context.Context, client *api.Client, name string, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	told := -1
	for {
		left, err := movable(ctx, client, name)
		switch {
		case err != nil:
			return err
		case len(left) == 0:
			return nil
		case len(left) != told:
			told = len(left)
			fmt.Fprintf(e.err, "%s left on %s: %s\n", counted(told, "instance"), name, strings.Join(left, ", "))
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("after %s %s left on %s: %s; supervisord status says what they wait for", timeout, counted(len(left), "instance"), name, strings.Join(left, ", "))
		case <-time.After(askAgain):
		}
	}
}

// movable are the names of a host's instances that own no data.
func movable(ctx context.Context, client *api.Client, host string) ([]string, error) {
	h, err := client.Host(ctx, host)
	if err != nil {
		return nil, err
	}
	data := map[string]bool{}
	for _, s := range h.Data {
		data[s] = true
	}
	instances, err := client.Instances(ctx)
	if err != nil {
		return nil, err
	}
	var left []string
	for _, i := range instances.Instances {
		if i.Host == host && !data[i.Service] {
			left = append(left, i.Name)
		}
	}
	return left, nil
}

func newHostsResume(e env) *cobra.Command {
	return &cobra.Command{
		Use:               "resume NAME",
		Short:             "Give instances to a drained host again",
		Args:              want("NAME"),
		ValidArgsFunction: hostNames(e),
		RunE: func(cmd *cobra.Command, args []string) error {
			return e.withClient(func(client *api.Client) error {
				h, err := client.ResumeHost(cmd.Context(), args[0])
				if err != nil {
					return fmt.Errorf("resume: %w", err)
				}
				e.screen().printf("%s takes instances again\n", h.Name)
				return nil
			})
		},
	}
}

func newHostsRemove(e env) *cobra.Command {
	var how api.RemoveHost
	c := &cobra.Command{
		Use:   "remove NAME",
		Short: "Take a host out of the cluster for good",
		Long: `remove takes a host out of the cluster for good: one that is drained, or one
that is lost and will not come back. Its certificate counts no more. A host that
holds data is refused; with --abandon-data the services whose data it is begin
anew elsewhere, empty.`,
		Args:              want("NAME"),
		ValidArgsFunction: hostNames(e),
		RunE: func(cmd *cobra.Command, args []string) error {
			return e.withClient(func(client *api.Client) error {
				if _, err := client.RemoveHost(cmd.Context(), args[0], how); err != nil {
					return fmt.Errorf("remove: %w", err)
				}
				e.screen().printf("%s is no longer a host of the cluster\n", args[0])
				return nil
			})
		},
	}
	c.Flags().BoolVar(&how.Force, "force", false, "remove a host that still runs instances; it stops them itself if it can")
	c.Flags().BoolVar(&how.AbandonData, "abandon-data", false, "give up the data that is on it")
	return c
}
