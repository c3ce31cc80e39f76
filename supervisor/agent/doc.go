// Package agent makes one host follow the replicated state: it creates,
// starts, checks, publishes, drains and stops the instances that the state
// gives to this host, and reports what it sees.
//
// It looks again instead of remembering: after a kill at any point, the
// difference between what the state wants and what runs here is all it needs.
//
// It never decides how many instances there are or where they live, and it
// never touches a container that is not this cluster's.
package agent
