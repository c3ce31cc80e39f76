// Package autoscale decides how many instances a service needs, and why.
//
// [Gather] turns the samples of a service's instances into one [Frame] a
// tick; [Decide] looks at the recent frames and the [Policy] and returns a
// [Decision]; [Decision.Sentence] puts it in words; [Replay] runs recorded
// frames through another policy.
//
// The package is pure. It never reads a clock, a file or a socket, starts no
// goroutine, keeps nothing between two calls, and knows neither containers nor
// hosts. Equal inputs give equal decisions, so a decision can be replayed from
// what was recorded with it.
//
// # The formula
//
// Load is counted in instances' worth: four instances that use half of their
// limit carry a load of 2. Its target is the middle of the metric's band, and
//
//	load   = measured instances × mean utilisation
//	target = (scale_in_below + scale_out_above) / 2
//	wanted = ceil(load / target)
//
// This is the ratio rule of the Kubernetes Horizontal Pod Autoscaler
// (desired = ceil(current × metric / target)), so a step is in proportion to
// the load and not ±1. Two things differ. A band takes the place of HPA's
// target ± 10 %: inside of it nothing happens. And the load is averaged
// instead of the utilisation, so that a change of the count inside the window
// does not distort it. Metrics are judged one by one. One that is above its
// line is enough to grow, and the largest wish counts; all must be below their
// lines to shrink.
//
// # Windows
//
// A frame stands for the sampling interval that ends with it, and is in a
// window when the middle of that interval is. Windows end at the newest frame,
// which must not be older than three sampling intervals. A direction's wish is
// the mean of one Window, and it must have stood for Stabilization: of all
// windows that end in that time the most cautious one counts, which is the
// highest load for shrinking and the lowest for growing. Averaging over
// sub-windows of the direction's own length keeps one odd sample from holding
// a service up for the whole time. To grow takes two frames at least: a single
// sample is no proof.
//
// # Growing
//
// A metric above its line, averaged over Out.Window, makes the service grow.
// A CPU at 90 % of its limit, or one held back by it in half of the scheduling
// periods while above the line, is saturated: use cannot exceed the limit, so
// the load that is seen is less than the load that is there, and the wish is
// at least twice the measured instances. A CPU at 90 % that is also held back
// in half of the periods counts as above its line wherever that line is;
// otherwise a line near 100 % could never be crossed.
//
// Desired counts instances that start and warm up, so a wish that does not
// exceed it is already on its way: warming_up. Their own use does not enter
// the load (a start-up burst that is read as load drives a service to its
// maximum). Instances beyond Desired are on their way out and are not counted
// on either.
//
// Out.Cooldown runs from the last growth only: shrinking never delays growing.
// It holds back corrections while the instances of the last growth are still
// coming. It does not apply to a saturated CPU, nor when everything that was
// ordered is warm and not enough: by then the last growth has had its effect.
//
// # Shrinking
//
// All metrics must be below their lines, over In.Window and, on today's count,
// over every In.Window that ended within In.Stabilization; the history must
// reach back that far with four frames in five. The wish of the highest load
// counts. Where the formula rounds up to the present count, being below the
// line asks for one instance fewer.
//
// The rest must be able to carry what was there: the highest load of any
// Out.Window in that time, put on the instances that stay, must not exceed
// 0.9 × scale_out_above. Growing is triggered by just such a mean over
// Out.Window, so the load of the recent past on the smaller count would not
// have made it grow again; the tenth is head room for noise. Instances that
// are not ready are not counted among the rest. Otherwise would_overload.
//
// In.Cooldown runs from the last change in either direction.
//
// # What is not known
//
// A ready instance without a fresh sample is missing. As in HPA it is taken to
// use nothing when growing is considered and everything when shrinking is, so
// ignorance never changes a count. An instance that warms up is left out when
// growing is considered; when shrinking is, it is taken to carry as much as
// the measured ones do. Without any measured instance nothing changes.
//
// # Bounds
//
// The wish passes through its bounds in this order, and each that changes it
// leaves a [Limit]: growing stabilization, max, cooldown, max step; shrinking
// min, stabilization, overload, cooldown, max step. A Desired outside of
// [Min, Max], which an edit of the policy can cause, goes to the bound at
// once. An operator's count stands above all of it.
package autoscale
