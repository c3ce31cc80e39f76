package supervisor

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/supervisord/supervisord/supervisor/engine"
	"github.com/supervisord/supervisord/supervisor/state"
)

// TestWhatIsBeingRestartedIsNotGone: a container that stops for a moment must
// not be replaced on its data, one that is removed may be.
func TestWhatIsBeingRestartedIsNotGone(t *testing.T) {
	db := state.Foreign{Container: "c1", Name: "shop_db_1", Service: "db"}
	begin := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var s surveyor
	for _, step := range []struct {
		at      time.Duration
		exists  bool
		running bool
		want    []state.Foreign
	}{
		{0, true, false, nil}, // it was stopped long ago
		{time.Second, true, true, []state.Foreign{db}},
		{2 * time.Second, true, false, []state.Foreign{db}},
		{15 * time.Second, true, false, []state.Foreign{db}},
		{15500 * time.Millisecond, true, true, []state.Foreign{db}},
		{16 * time.Second, true, false, []state.Foreign{db}},
		{31 * time.Second, true, false, nil},
		{32 * time.Second, true, true, []state.Foreign{db}},
		{33 * time.Second, false, false, nil},
	} {
		var found []engine.Found
		if step.exists {
			found = []engine.Found{{Foreign: db, Running: step.running}}
		}
		if diff := cmp.Diff(step.want, s.present(found, begin.Add(step.at))); diff != "" {
			t.Errorf("after %s (-want +got):\n%s", step.at, diff)
		}
	}
}
