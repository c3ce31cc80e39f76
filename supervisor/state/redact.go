package state

import "strings"

// redacted stands for a value that is not shown.
const redacted = "…"

// Redacted is the container as an API may show it: the names of its variables
// without their values, which are where passwords are. The container itself
// stays as it is.
func (c Container) Redacted() Container {
	if c.Environment == nil {
		return c
	}
	names := make([]string, len(c.Environment))
	for i, variable := range c.Environment {
		name, _, _ := strings.Cut(variable, "=")
		names[i] = name + "=" + redacted
	}
	c.Environment = names
	return c
}
