package supervisor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/supervisord/supervisord/raftstore"
	"github.com/supervisord/supervisord/supervisor/engine"
	"github.com/supervisord/supervisord/supervisor/state"
)

// TestImagesOfReleasesThatAreNoLongerKeptAreRemoved deploys more releases than
// are kept.
func TestImagesOfReleasesThatAreNoLongerKeptAreRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReplica()
		commit := func(cmds ...state.Command) {
			t.Helper()
			data, err := state.Encode(state.Proposal{At: time.Now(), Commands: cmds})
			if err != nil {
				t.Fatal(err)
			}
			c, _ := r.Current()
			if a := r.Apply(raftstore.Entry{Index: c.Index + 1, Data: data}).(applied); a.err != nil || errors.Join(a.refused...) != nil {
				t.Fatal(a)
			}
		}
		deploy := func(n int) {
			t.Helper()
			image := fmt.Sprint("web:", n)
			spec := state.Spec{Hash: fmt.Sprint(time.Now(), n), Services: map[string]state.Service{
				"web": {Name: "web", Hash: image, Replicas: 0, Container: state.Container{Image: image}},
				"db":  {Name: "db", Hash: "d", Replicas: 0, Container: state.Container{Image: "db:1"}},
			}}
			c, _ := r.Current()
			commit(state.SetSpec{Spec: spec, Base: c.Spec.Revision, By: "a test"})
			c, _ = r.Current()
			commit(state.FinishRollout{Revision: c.Spec.Revision})
			time.Sleep(time.Second)
		}
		commit(state.Found{ID: "c1"})
		var mu sync.Mutex
		var removed []string
		inUse := map[string]bool{"web:2": true}
		j := &janitor{replica: r, log: slog.New(slog.DiscardHandler), remove: func(_ context.Context, image string) error {
			mu.Lock()
			defer mu.Unlock()
			if inUse[image] {
				return fmt.Errorf("%w: by a container", engine.ErrImageUsed)
			}
			removed = append(removed, image)
			return nil
		}}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- j.run(ctx) }()
		wants := func(want ...string) {
			t.Helper()
			mu.Lock()
			defer mu.Unlock()
			if diff := cmp.Diff(want, removed); diff != "" {
				t.Errorf("removed (-want +got):\n%s", diff)
			}
		}
		for n := 1; n <= 13; n++ {
			deploy(n)
		}
		synctest.Wait()
		wants("web:1", "web:3")
		// What was used is not, a while later; what comes again stays.
		mu.Lock()
		delete(inUse, "web:2")
		mu.Unlock()
		for range 20 {
			time.Sleep(cleanAgain / 20)
			// Something always happens.
			commit(state.Note{Event: state.Event{Kind: state.EventClockSkew, Message: "something"}})
		}
		synctest.Wait()
		wants("web:1", "web:3", "web:2")
		deploy(1)
		wants("web:1", "web:3", "web:2", "web:4")
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}
