package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/supervisord/supervisord/supervisor/api"
	"github.com/supervisord/supervisord/supervisor/state"
)

type eventsCommand struct {
	env
	follow bool
	after  uint64
	// from says that after was given.
	from   bool
	limit  int
	asJSON bool
}

func newEvents(e env) *cobra.Command {
	x := &eventsCommand{env: e}
	c := &cobra.Command{
		Use:   "events",
		Short: "Show what happened, and with -f what happens",
		Long: `Show the latest events, oldest first. With --after, those after a sequence
number. With -f it goes on with what happens, and finds the daemon again when
that was restarted. --json prints one event a line.`,
		Args: want(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			x.from = cmd.Flags().Changed("after")
			client, err := e.client()
			if err != nil {
				return err
			}
			defer client.Close()
			if err := x.show(cmd.Context(), client); err != nil {
				return fmt.Errorf("events: %w", err)
			}
			return nil
		},
	}
	c.Flags().BoolVarP(&x.follow, "follow", "f", false, "go on with what happens")
	c.Flags().Uint64Var(&x.after, "after", 0, "begin after this sequence number")
	c.Flags().IntVar(&x.limit, "limit", 50, "number of events at the most, not counting those that -f waits for")
	c.Flags().BoolVar(&x.asJSON, "json", false, "print JSON, one event a line")
	return c
}

func (x *eventsCommand) show(ctx context.Context, client *api.Client) error {
	if x.follow && x.from {
		return x.tail(ctx, client, x.after)
	}
	events, err := x.past(ctx, client)
	if err != nil {
		return err
	}
	if err := x.print(events.Events...); err != nil {
		return err
	}
	if !x.follow {
		return nil
	}
	return x.tail(ctx, client, events.LastEvent)
}

func (x *eventsCommand) past(ctx context.Context, client *api.Client) (api.Events, error) {
	if x.from {
		return client.EventsAfter(ctx, x.after, x.limit)
	}
	return client.LatestEvents(ctx, x.limit)
}

// reconnect is the pause before a lost daemon is looked for again.
const reconnect = time.Second

// tail prints events as they happen until the operator ends it. A daemon that
// answered once is looked for again when it is gone.
func (x *eventsCommand) tail(ctx context.Context, client *api.Client, after uint64) error {
	connected := !x.from
	for {
		var end error
		for e, err := range client.Follow(ctx, after) {
			if end = err; err != nil {
				break
			}
			if err := x.print(e); err != nil {
				return err
			}
			after, connected = e.Seq, true
		}
		lost := errors.Is(end, api.ErrStreamEnded) || connected && errors.Is(end, api.ErrUnreachable)
		switch {
		case ctx.Err() != nil:
			return nil
		case !lost:
			return end
		}
		connected = true
		fmt.Fprintf(x.err, "supervisord: events: %v; looking for the daemon again\n", end)
		if !pause(ctx, reconnect) {
			return nil
		}
	}
}

// pause waits; false when the context has ended meanwhile.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

func (x *eventsCommand) print(events ...state.Event) error {
	if x.asJSON {
		encoder := json.NewEncoder(x.out)
		encoder.SetEscapeHTML(false)
		for _, e := range events {
			if err := encoder.Encode(e); err != nil {
				return err
			}
		}
		return nil
	}
	s := x.screen()
	for _, e := range events {
		// The kinds have a known width, so lines that come one by one align.
		row := []cell{{stamp(e.At), faint}, {fmt.Sprintf("%-17s", e.Kind), eventStyle(e.Kind)}, {text: e.Message}}
		s.table([][]cell{row})
	}
	return nil
}

func eventStyle(k state.EventKind) style {
	switch k {
	case state.EventInstanceFailed, state.EventSpecRejected, state.EventSiteRejected:
		return bad
	case state.EventScaledOut, state.EventScaledIn, state.EventHeld, state.EventReleased:
		return warn
	case state.EventInstanceReady, state.EventSpecAccepted, state.EventSiteAccepted:
		return good
	}
	return plain
}
