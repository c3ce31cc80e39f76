// Package plan decides what the cluster does next: one pure round looks at
// the replicated state and the samples and returns commands with reasons.
//
// A round carries out each of its steps on its own copy of the state before
// it decides the next, with the same Apply that every host uses, so its steps
// fit together by construction.
//
// It never acts, never asks anything of the world, and reads no clock.
package plan
