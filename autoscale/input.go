package autoscale

import "time"

// Sample is one measurement of one instance.
type Sample struct {
	// Instance is the instance's id.
	Instance string    `json:"instance"`
	At       time.Time `json:"at"`
	// CPU is the share of the limit used since the sample before: 1 is all of
	// it. Memory is the share of the limit in use without reclaimable cache.
	CPU    float64 `json:"cpu"`
	Memory float64 `json:"memory"`
	// Throttled is the share of scheduling periods since the sample before in
	// which the instance was held back by its CPU limit.
	Throttled float64 `json:"throttled"`
	// CPUCores and MemoryBytes are the same figures in absolute units.
	CPUCores    float64 `json:"cpu_cores"`
	MemoryBytes uint64  `json:"memory_bytes"`
}

// Member is one instance of the service that is ready to serve.
type Member struct {
	ID         string
	ReadySince time.Time
}

// Frame is what one service looked like at one moment: all its samples in a
// few figures. Gather makes it.
type Frame struct {
	At time.Time `json:"at"`
	// Counted instances are ready, warm and measured: CPU, Memory and
	// Throttled are the means of their figures, 0 when there are none.
	Counted int `json:"counted"`
	// Missing instances are ready and warm, and no fresh sample came of them.
	Missing int `json:"missing"`
	// Warming instances became ready less than WarmUp ago, or no sample of
	// their time after it has come yet.
	Warming   int     `json:"warming"`
	CPU       float64 `json:"cpu"`
	Memory    float64 `json:"memory"`
	Throttled float64 `json:"throttled"`
}

// Input is everything Decide looks at.
type Input struct {
	Now time.Time
	// Policy is valid (see Policy.Validate); it need not have its defaults in.
	Policy Policy
	// Desired is the count in force; Ready of them serve, Starting do not yet.
	Desired  int
	Ready    int
	Starting int
	// Frames are in ascending order of At and reach back at least as far as
	// Policy.Span, when there is that much history; older ones do no harm.
	// Those after Now are not looked at.
	Frames []Frame
	// LastOut and LastIn are when the count last grew and last shrank; zero
	// for never.
	LastOut, LastIn time.Time
	// Hold is the count an operator has asked for, nil when the load decides.
	Hold *int
	// Rolling says that a new definition replaces the old one: shrinking waits
	// for its end, growing does not.
	Rolling bool
}
