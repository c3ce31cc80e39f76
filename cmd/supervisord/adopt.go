package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/supervisord/supervisord/supervisor/api"
	"github.com/supervisord/supervisord/supervisor/state"
)

func newAdopt(e env) *cobra.Command {
	w := &watch{env: e}
	var yes, ignore bool
	var containers []string
	c := &cobra.Command{
		Use:   "adopt [SERVICE…]",
		Short: "Take over what docker compose runs, without stopping it",
		Long: `adopt shows which running containers of the same docker compose project would
become instances of which services, on all hosts: how they differ from the file,
where nginx would find them, and what is against it. With --yes they become
instances, as they are: they are watched, scaled and sent to by nginx, and the
supervisor restarts them instead of their restart policy. Nothing is stopped.

Until then nothing is started of a service that docker compose runs. With
--ignore it is started beside what runs.

"adopt finish" replaces what was adopted by instances of our own, "adopt undo"
gives it back. A container that docker compose does not know is adopted by its
name: --container NAME=SERVICE.`,
		Example: `  supervisord adopt
  supervisord adopt --yes backend
  supervisord adopt --yes --container old-backend=backend
  supervisord adopt finish backend`,
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: anyServices(e),
		RunE: func(cmd *cobra.Command, args []string) error {
			named, err := parsePairs("--container", "NAME=SERVICE", containers)
			if err != nil {
				return wrongUsage(cmd, err)
			}
			if ignore && (yes || len(named) > 0) {
				return wrongUsage(cmd, errors.New("--ignore goes with neither --yes nor --container"))
			}
			return e.withClient(func(client *api.Client) error {
				ctx := cmd.Context()
				var err error
				switch {
				case ignore:
					err = w.ignore(ctx, client, args)
				case yes:
					err = w.adopt(ctx, client, args, named)
				default:
					err = w.showCandidates(ctx, client, args, named)
				}
				if err != nil {
					return fmt.Errorf("adopt: %w", err)
				}
				return nil
			})
		},
	}
	c.Flags().BoolVar(&yes, "yes", false, "do it")
	c.Flags().BoolVar(&ignore, "ignore", false, "start the services beside what runs of them")
	c.Flags().StringArrayVar(&containers, "container", nil, "[HOST/]NAME=SERVICE, a single container; may be given again")
	w.register(c)
	c.AddCommand(newAdoptFinish(e), newAdoptUndo(e))
	return c
}

// anyServices completes every argument with the names of services.
func anyServices(e env) cobra.CompletionFunc {
	first := services(e)
	return func(cmd *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
		return first(cmd, nil, word)
	}
}

func (w *watch) showCandidates(ctx context.Context, client *api.Client, only []string, named map[string]string) error {
	t, err := client.Takeover(ctx, named)
	if err != nil {
		return err
	}
	if len(only) > 0 {
		t.Candidates = slices.DeleteFunc(t.Candidates, func(k state.Candidate) bool { return !slices.Contains(only, k.Service) })
	}
	if w.asJSON {
		return printJSON(w.out, t)
	}
	w.screen().candidates(t)
	return nil
}

func (s screen) candidates(t api.Takeover) {
	if len(t.Candidates) == 0 {
		s.printf("docker compose runs nothing of the project %s (the file's name key, or its directory); a single container is adopted by its name: --container NAME=SERVICE\n", t.Project)
		return
	}
	rows := [][]cell{cells("SERVICE", "CONTAINER", "HOST", "NGINX SENDS TO", "WHAT BECOMES OF IT")}
	can := 0
	for _, k := range t.Candidates {
		what := cell{"can be adopted", good}
		switch {
		case k.Adopted != "":
			what = cell{"is adopted as " + k.Adopted, plain}
		case k.Cannot != "":
			what = cell{"cannot be adopted: " + k.Cannot, bad}
		case k.Sick != "":
			what = cell{"cannot be adopted, it is not well: " + k.Sick, bad}
		default:
			can++
		}
		rows = append(rows, []cell{{text: k.Service}, {text: k.Name}, {text: k.Host}, {text: orDash(k.Address)}, what})
	}
	s.table(rows)
	for _, k := range t.Candidates {
		if len(k.Differences) == 0 {
			continue
		}
		s.printf("\n%s is not as the file says; \"adopt finish\" would change:\n", k.Name)
		for _, d := range k.Differences {
			s.printf("  %s\n", d)
		}
	}
	if can > 0 {
		s.printf("\nNothing was changed. supervisord adopt --yes takes over what can be.\n")
	}
}

func (w *watch) adopt(ctx context.Context, client *api.Client, services []string, named map[string]string) error {
	t, err := client.Adopt(ctx, api.Adopt{Services: services, Containers: named, By: w.user()})
	if err != nil {
		return err
	}
	if !w.detach {
		if err := w.until(ctx, client, t.LastEvent, func(all []state.Instance) (string, error) { return notReady(t.Candidates, all) }); err != nil {
			return err
		}
	}
	if w.asJSON {
		return printJSON(w.out, t)
	}
	var names []string
	for _, k := range t.Candidates {
		if k.Adopted == "" {
			names = append(names, k.Name)
		}
	}
	w.screen().printf("adopted: %s\n", strings.Join(names, ", "))
	return nil
}

// notReady names what of the candidates does not serve yet, and fails where one
// will not.
func notReady(wanted []state.Candidate, all []state.Instance) (string, error) {
	for _, k := range wanted {
		n := slices.IndexFunc(all, func(i state.Instance) bool { return i.Container == k.Container })
		switch {
		case n < 0, all[n].Adopted.Return, !all[n].Active():
			return "", fmt.Errorf("%s was not taken over; supervisord events says why", k.Name)
		case all[n].Phase != state.Ready:
			return k.Name + " is " + string(all[n].Phase), nil
		}
	}
	return "", nil
}

func (w *watch) ignore(ctx context.Context, client *api.Client, services []string) error {
	t, err := client.IgnoreForeign(ctx, api.Decide{Services: services, By: w.user()})
	if err != nil {
		return err
	}
	if w.asJSON {
		return printJSON(w.out, t)
	}
	for _, one := range t.Takeovers {
		if one.State == state.TakeoverIgnored && (len(services) == 0 || slices.Contains(services, one.Service)) {
			w.screen().printf("%s is started beside what runs of it\n", one.Service)
		}
	}
	return nil
}

func newAdoptFinish(e env) *cobra.Command {
	w := &watch{env: e}
	c := &cobra.Command{
		Use:   "finish [SERVICE…]",
		Short: "Replace what was adopted by instances of our own",
		Long: `finish replaces adopted instances by our own, as the file defines them: the new
one first, and the old one leaves nginx, finishes its requests, is stopped and
removed. What owns data is stopped first; ours has the same volumes. There is no
way back but a deploy.`,
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: anyServices(e),
		RunE: func(cmd *cobra.Command, args []string) error {
			return e.withClient(func(client *api.Client) error {
				t, err := client.FinishAdoption(cmd.Context(), api.Decide{Services: args, By: e.user()})
				if err == nil {
					err = w.left(cmd.Context(), client, t, func(all []state.Instance) (string, error) { return notReplaced(args, all), nil })
				}
				if err != nil {
					return fmt.Errorf("adopt finish: %w", err)
				}
				return w.decided(t, "all that was adopted is replaced by our own")
			})
		},
	}
	w.register(c)
	return c
}

func notReplaced(services []string, all []state.Instance) string {
	ours := map[string]bool{}
	for _, i := range all {
		if len(services) > 0 && !slices.Contains(services, i.Service) {
			continue
		}
		if i.IsAdopted() {
			return fmt.Sprintf("%s (%s) is %s", i.Adopted.Name, i.Name, i.Phase)
		}
		ours[i.Service] = ours[i.Service] || i.Phase == state.Ready
	}
	for _, name := range services {
		if !ours[name] {
			return "nothing of " + name + " is ready"
		}
	}
	for name, ready := range ours {
		if !ready {
			return "nothing of " + name + " is ready"
		}
	}
	return ""
}

func newAdoptUndo(e env) *cobra.Command {
	w := &watch{env: e}
	var how api.Decide
	c := &cobra.Command{
		Use:   "undo [SERVICE…]",
		Short: "Give back what was adopted, running and as it was",
		Long: `undo takes adopted containers out of nginx and gives them back, running, with
the restart policy that they had. Let their clients reach them another way
before. Instances of our own of the same services go on serving through nginx,
and nothing more is started of them; --own lets them leave too. Then "adopt",
or "adopt --ignore", says how to go on.`,
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: anyServices(e),
		RunE: func(cmd *cobra.Command, args []string) error {
			return e.withClient(func(client *api.Client) error {
				how.Services, how.By = args, e.user()
				t, err := client.ReturnAdopted(cmd.Context(), how)
				if err == nil {
					err = w.left(cmd.Context(), client, t, func(all []state.Instance) (string, error) { return notGivenBack(how, all), nil })
				}
				if err != nil {
					return fmt.Errorf("adopt undo: %w", err)
				}
				return w.decided(t, "all that was adopted is given back")
			})
		},
	}
	c.Flags().BoolVar(&how.Own, "own", false, "let our own instances of these services leave too")
	c.Flags().BoolVar(&how.Partly, "partly", false, "give back what is left though some are gone")
	w.register(c)
	return c
}

func notGivenBack(how api.Decide, all []state.Instance) string {
	for _, i := range all {
		about := len(how.Services) == 0 || slices.Contains(how.Services, i.Service)
		if about && (i.Adopted.Return || how.Own && i.Phase == state.Draining) {
			return i.Name + " is " + string(i.Phase)
		}
	}
	return ""
}

// left waits, where that is wanted, until a decision is carried out.
func (w *watch) left(ctx context.Context, client *api.Client, t api.Takeover, missing func([]state.Instance) (string, error)) error {
	if w.detach {
		return nil
	}
	return w.until(ctx, client, t.LastEvent, missing)
}

func (w *watch) decided(t api.Takeover, done string) error {
	switch {
	case w.asJSON:
		return printJSON(w.out, t)
	case w.detach:
		done = "it is on its way"
	}
	w.screen().printf("%s\n", done)
	return nil
}

// until tells what happens until nothing is missing.
func (w *watch) until(ctx context.Context, client *api.Client, after uint64, missing func([]state.Instance) (string, error)) error {
	ctx, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	p := &progress{watch: w, client: client, after: after}
	last := "nothing is known of it yet"
	for {
		answer, err := client.Instances(ctx)
		if err == nil {
			err = p.tell(ctx)
		}
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("after %s %s; it goes on", w.timeout, last)
		case errors.Is(err, api.ErrUnreachable), errors.Is(err, api.ErrUnavailable):
		case err != nil:
			return err
		default:
			all := make([]state.Instance, len(answer.Instances))
			for n, i := range answer.Instances {
				all[n] = i.Instance
			}
			if last, err = missing(all); err != nil || last == "" {
				return err
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(lookEvery):
		}
	}
}
