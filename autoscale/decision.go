package autoscale

import "time"

// Decision is the count a service should have, with all that led to it.
type Decision struct {
	At time.Time `json:"at"`
	// From is the count in force, Wanted what the load asks for before any
	// bound, To the final count.
	From   int    `json:"from"`
	Wanted int    `json:"wanted"`
	To     int    `json:"to"`
	Reason Reason `json:"reason"`
	// Limits are the bounds that changed Wanted into To, in order: each begins
	// where the one before ended.
	Limits []Limit `json:"limits,omitempty"`
	// Metric is the one that decided ("cpu", "memory", "" for none), Formula
	// its arithmetic with numbers: "ceil(2 × 0.93 / 0.50) = 4". Nothing is
	// computed, and Formula is empty, inside the band.
	Metric  string  `json:"metric,omitempty"`
	Formula string  `json:"formula,omitempty"`
	CPU     Measure `json:"cpu,omitzero"`
	Memory  Measure `json:"memory,omitzero"`
	// Ready and Starting are the instances it was told of; of the ready ones
	// Counted were measured, Missing sent nothing and Warming were too young,
	// as of the newest frame; all are missing when that is too old.
	Ready    int `json:"ready"`
	Starting int `json:"starting"`
	Counted  int `json:"counted"`
	Missing  int `json:"missing"`
	Warming  int `json:"warming,omitzero"`
	// Until is when the cooldown ends, for a decision with that reason.
	Until time.Time `json:"until,omitzero"`
}

// Measure is one metric as a decision saw it, against its band.
type Measure struct {
	// Out is the mean over Out.Window with missing instances at no use, In
	// the mean over In.Window with missing instances at full use; 0 where
	// nothing was measured.
	Out  float64 `json:"out"`
	In   float64 `json:"in"`
	Band Band    `json:"band"`
}

// Changes says whether the decision changes the count.
func (d Decision) Changes() bool { return d.To != d.From }

// limit lets a bound move the count; one that does not move it leaves no
// trace. It says whether the count in force stays.
func (d *Decision) limit(r Reason, to int) bool {
	if to != d.To {
		d.Limits = append(d.Limits, Limit{Reason: r, From: d.To, To: to})
		d.To = to
	}
	return d.To == d.From
}

// hold leaves the count as it is, for a reason.
func (d *Decision) hold(r Reason) {
	d.limit(r, d.From)
	d.Reason = r
}
