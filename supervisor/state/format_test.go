package state_test

import (
	"errors"
	"testing"

	"github.com/supervisord/supervisord/supervisor/state"
)

// What an older daemon could not apply is not proposed while there is one.
func TestNewCommandsWaitForTheLastHostToBeUpgraded(t *testing.T) {
	l := founded(t)
	old, now := state.Gone{ID: "web-1.4"}, state.ReportHealth{ID: "web-1.4", Sick: "no answer"}
	host := state.RegisterHost{Name: "a", Address: "127.0.0.1", CPUs: 2, Memory: 4 << 30, Version: "1.0"}
	for _, tc := range []struct {
		name   string
		format int
		want   string
	}{
		{"before the first upgrade", 0, "report_health: not every host of the cluster runs a version that knows this: a runs 1.0"},
		{"afterwards", state.Format, ""},
		{"a later one", state.Format + 1, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			host.Format = tc.format
			l.apply(host)
			if err := l.Knows(old); err != nil {
				t.Errorf("a command that always was: %v", err)
			}
			err := l.Knows(now)
			if (tc.want == "") != (err == nil) || err != nil && (err.Error() != tc.want || !errors.Is(err, state.ErrOlderHosts)) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}
