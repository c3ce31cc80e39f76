package state

import (
	"errors"
	"fmt"
	"strings"
)

// Format counts the sets of commands that versions of the daemon know. A
// daemon cannot apply a log with a command it does not know, so a command is
// proposed only when every host of the cluster knows it: while the hosts are
// upgraded one after the other, what is new waits for the last of them.
const Format = 2

// formatted is a command that came after the first format.
type formatted interface {
	// format is the first one that has the command.
	format() int
}

// second is embedded by the commands that came with the second format.
type second struct{}

func (second) format() int { return 2 }

// Speaks returns whether every host knows a format: fields that came with it mean
// something only then.
func (c Cluster) Speaks(format int) bool {
	for h := range c.Hosts.Values() {
		if max(1, h.Format) < format {
			return false
		}
	}
	return true
}

// ErrOlderHosts is wrapped by the error of what cannot be proposed yet.
var ErrOlderHosts = errors.New("not every host of the cluster runs a version that knows this")

// Knows returns why a command must not be proposed: hosts that could not apply
// it. Lost hosts count: they may come back as they were.
func (c Cluster) Knows(cmd Command) error {
	needs := 1
	if f, ok := cmd.(formatted); ok {
		needs = f.format()
	}
	var older []string
	for h := range c.Hosts.Values() {
		if max(1, h.Format) < needs {
			older = append(older, fmt.Sprintf("%s runs %s", h.Name, h.Version))
		}
	}
	if len(older) == 0 {
		return nil
	}
	return fmt.Errorf("%s: %w: %s", cmd.kind(), ErrOlderHosts, strings.Join(older, ", "))
}
