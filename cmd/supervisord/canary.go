package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/supervisord/supervisord/supervisor/api"
	"github.com/supervisord/supervisord/supervisor/state"
)

func newCanary(e env) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "canary",
		Short: "Show the canary, and how it does against what is in force",
		Args:  want(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return e.withClient(func(client *api.Client) error {
				k, err := client.Canary(cmd.Context())
				if err != nil {
					return fmt.Errorf("canary: %w", err)
				}
				if asJSON {
					return printJSON(e.out, k)
				}
				printCanary(e.screen(), k)
				return nil
			})
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func printCanary(s screen, k api.Canary) {
	s.printf("canary beside revision %d: %s\n", k.Base, k.Change)
	s.printf("%s with %s of the requests, since %s, by %s\n", k.State, shareText(k.Share), stamp(k.Began), k.By)
	if k.Why != "" {
		s.printf("%s\n", k.Why)
	}
	if len(k.Held) > 0 {
		s.printf("new only when it is promoted: %s\n", strings.Join(k.Held, ", "))
	}
	for _, name := range slices.Sorted(maps.Keys(k.Verdicts)) {
		s.printf("%s: %s\n", name, k.Verdicts[name].Why)
	}
	if k.State == state.CanaryServing && k.Ready == 0 {
		s.printf("none of its instances serves yet\n")
	}
}

func newPromote(e env) *cobra.Command {
	w := &watch{env: e}
	var force bool
	c := &cobra.Command{
		Use:   "promote",
		Short: "Put the canary in force, and see it through",
		Long: `promote puts what the canary has tried out in force, and rolls it out as deploy
does. A canary that has had too few requests to judge it is promoted only with
--force.`,
		Args: want(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return e.withClient(func(client *api.Client) error {
				begun, err := client.Promote(cmd.Context(), api.EndCanary{By: "a promotion by " + e.user(), Force: force})
				if err != nil {
					return fmt.Errorf("promote: %w", err)
				}
				return w.through(cmd.Context(), client, begun)
			})
		},
	}
	c.Flags().BoolVar(&force, "force", false, "also where it has not been judged")
	w.register(c)
	return c
}

func newAbort(e env) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "abort",
		Short: "Take the canary out",
		Args:  want(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return e.withClient(func(client *api.Client) error {
				k, err := client.Abort(cmd.Context(), api.EndCanary{By: e.user()})
				if err != nil {
					return fmt.Errorf("abort: %w", err)
				}
				if asJSON {
					return printJSON(e.out, k)
				}
				e.screen().printf("the canary is aborted; revision %d goes on\n", k.Base)
				return nil
			})
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// parseShare reads "10%"; 0 for nothing.
func parseShare(text string) (float64, error) {
	if text == "" {
		return 0, nil
	}
	number, isPercent := strings.CutSuffix(text, "%")
	n, err := strconv.ParseFloat(number, 64)
	if most := 100 * state.MaxCanaryShare; err != nil || !isPercent || !(n > 0 && n <= most) {
		return 0, fmt.Errorf("--canary %q: want a share above 0%% and at most %g%%, as 10%%", text, most)
	}
	return n / 100, nil
}

func shareText(share float64) string { return strconv.FormatFloat(100*share, 'g', 4, 64) + " %" }

// canary tells what happens until a canary serves, and fails when it does not
// come to that.
func (w *watch) canary(ctx context.Context, client *api.Client, begun api.Deployed) error {
	k := *begun.Canary
	fmt.Fprintf(w.err, "canary beside revision %d, with %s of the requests: %s\n", k.Base, shareText(k.Share), k.Change)
	if len(k.Held) > 0 {
		fmt.Fprintf(w.err, "new only when it is promoted: %s\n", strings.Join(k.Held, ", "))
	}
	if !w.detach {
		ctx, cancel := context.WithTimeout(ctx, w.timeout)
		defer cancel()
		p := &progress{watch: w, client: client, after: begun.LastEvent}
		var err error
		if k, err = p.serving(ctx, k); err != nil {
			return fmt.Errorf("canary: %w; it goes on, supervisord canary shows how it does", err)
		}
	}
	if w.asJSON {
		if err := printJSON(w.out, k); err != nil {
			return err
		}
	}
	switch {
	case k.State != state.CanaryServing:
		return fmt.Errorf("the canary has %s: %s", k.State, k.Why)
	case !w.asJSON && !w.detach:
		w.screen().printf("the canary serves %s of the requests; supervisord canary shows how it does, supervisord promote or abort ends it\n", shareText(k.Share))
	}
	return nil
}

// serving waits until every service of a canary has an instance that serves.
func (p *progress) serving(ctx context.Context, k api.Canary) (api.Canary, error) {
	id := k.ID
	for {
		now, err := p.client.Canary(ctx)
		if err == nil {
			err = p.tell(ctx)
		}
		switch {
		case ctx.Err() != nil:
			return k, ctx.Err()
		case errors.Is(err, api.ErrUnreachable), errors.Is(err, api.ErrUnavailable):
		case err != nil:
			return k, err
		case now.ID != id:
			return k, errors.New("another canary has taken its place")
		case now.State != state.CanaryServing || allServe(now):
			return now, nil
		}
		select {
		case <-ctx.Done():
			return k, ctx.Err()
		case <-time.After(lookEvery):
		}
	}
}

func allServe(k api.Canary) bool {
	serving := map[string]bool{}
	for _, i := range k.Instances {
		serving[i.Service] = serving[i.Service] || i.Phase == state.Ready
	}
	for _, name := range k.Services {
		if !serving[name] {
			return false
		}
	}
	return true
}
