// Package supervisor wires the daemon of one host together and owns its
// lifecycle: it opens the replicated state, runs the host's agent, samples
// its containers, follows the operator's file, and plans while it leads.
//
// It contains no rule of the business: what to do is decided in plan and
// autoscale, how a host follows in agent, what is true in state.
package supervisor
