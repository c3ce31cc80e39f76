package state

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRedactedHidesValuesOnly(t *testing.T) {
	c := Container{
		Image:       "acme/backend:1.4",
		Environment: []string{"EMPTY=", "PASSWORD=geheim=1", "PLAIN"},
		Labels:      map[string]string{"team": "core"},
	}
	shown := c.Redacted()
	want := c
	want.Environment = []string{"EMPTY=…", "PASSWORD=…", "PLAIN=…"}
	if diff := cmp.Diff(want, shown); diff != "" {
		t.Errorf("redacted (-want +got):\n%s", diff)
	}
	if c.Environment[1] != "PASSWORD=geheim=1" {
		t.Errorf("the container itself has changed: %q", c.Environment)
	}
	if got := (Container{}).Redacted().Environment; got != nil {
		t.Errorf("no environment has become %q", got)
	}
}

// An instance whose image's command is cleared is another one than an instance
// with the image's own command, also after a round trip through the log.
func TestClearedCommandSurvivesTheLog(t *testing.T) {
	for name, c := range map[string]Container{
		"own":     {},
		"cleared": {Command: []string{}, Entrypoint: []string{}},
	} {
		t.Run(name, func(t *testing.T) {
			data, err := json.Marshal(c)
			if err != nil {
				t.Fatal(err)
			}
			var back Container
			if err := json.Unmarshal(data, &back); err != nil {
				t.Fatal(err)
			}
			if (back.Command == nil) != (c.Command == nil) || (back.Entrypoint == nil) != (c.Entrypoint == nil) {
				t.Errorf("%s came back as %#v, %#v", strings.TrimSpace(string(data)), back.Command, back.Entrypoint)
			}
		})
	}
}
