// Package supervisor wires the daemon of one host together and owns its
// lifecycle: it opens the replicated state, runs the host's agent, samples
// its containers, follows the operator's file, and plans while it leads.
//
// Every host does the same things: its agent follows the state, its observer
// measures and reports to the leader, its follower keeps the operator's file
// and the cluster's spec in step. Only the leader plans, gathers the hosts'
// measurements (they never go through the log) and tends the log's voters. A
// host that has lost its leader keeps what it runs and changes nothing else.
//
// It contains no rule of the business: what to do is decided in plan and
// autoscale, how a host follows in agent, what is true in state.
package supervisor
