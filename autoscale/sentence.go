package autoscale

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Sentence puts the decision in words, with its numbers: "backend stays at 2:
// cpu is at 41 % of its limit, inside its band of 30–70 %". It is one
// sentence, without a full stop.
func (d Decision) Sentence(service string) string {
	if d.Changes() {
		return fmt.Sprintf("%s goes from %d to %d: %s", service, d.From, d.To, d.because())
	}
	return fmt.Sprintf("%s stays at %d: %s", service, d.To, d.because())
}

func (d Decision) because() string {
	switch d.Reason {
	case ReasonAboveThreshold:
		return d.aboveLine() + "; " + d.Formula + d.cuts()
	case ReasonSaturated:
		return fmt.Sprintf("cpu at %s is saturated (its limit hides demand); %s%s", share(d.CPU.Out), d.Formula, d.cuts())
	case ReasonBelowThreshold:
		return d.belowLine() + "; " + d.Formula + d.cuts()
	case ReasonWithinBand:
		return d.inBand()
	case ReasonCooldown:
		return fmt.Sprintf("%s, which asks for %d, but the last change is too fresh (cooldown for another %s)", d.beyondLine(), d.Wanted, d.Until.Sub(d.At).Round(time.Millisecond))
	case ReasonStabilizing:
		return fmt.Sprintf("%s, which asks for %d, but not for long enough yet (stabilization)", d.beyondLine(), d.Wanted)
	case ReasonDeploying:
		return fmt.Sprintf("%s, which asks for %d, but a release is being rolled out", d.beyondLine(), d.Wanted)
	case ReasonAtMin:
		return d.bound("minimum")
	case ReasonAtMax:
		return d.bound("maximum")
	case ReasonWarmingUp:
		return d.onTheWay()
	case ReasonMetricsMissing:
		return d.unknown()
	case ReasonWouldOverload:
		return fmt.Sprintf("%s, but with one fewer the peaks would come too near to the upper line of %s for %s (%s)", d.belowLine(), share(d.decisive().Band.Above), d.Metric, d.Formula)
	case ReasonOperator:
		if d.Changes() {
			return fmt.Sprintf("an operator has set it by hand (the load asks for %d)", d.Wanted)
		}
		return fmt.Sprintf("an operator holds it there (the load asks for %d)", d.Wanted)
	default:
		return "nothing has been decided yet"
	}
}

// decisive is the measure of the metric that decided.
func (d Decision) decisive() Measure {
	if d.Metric == memory.String() {
		return d.Memory
	}
	return d.CPU
}

// beyondLine says by how much the load is out of the band, on the side that
// the wish is on.
func (d Decision) beyondLine() string {
	if d.Wanted > d.From {
		return d.aboveLine()
	}
	return d.belowLine()
}

func (d Decision) aboveLine() string {
	m := d.decisive()
	return fmt.Sprintf("%s is at %s of its limit, above its line of %s", d.Metric, shareBeside(m.Out, m.Band.Above), share(m.Band.Above))
}

// belowLine names all metrics, because all had to be below.
func (d Decision) belowLine() string {
	c, m := d.CPU, d.Memory
	if c.Band == (Band{}) || m.Band == (Band{}) {
		only := d.decisive()
		return fmt.Sprintf("%s is at %s of its limit, below its line of %s", d.Metric, shareBeside(only.In, only.Band.Below), share(only.Band.Below))
	}
	return fmt.Sprintf("cpu is at %s and memory at %s of their limits, below their lines of %s and %s",
		shareBeside(c.In, c.Band.Below), shareBeside(m.In, m.Band.Below), share(c.Band.Below), share(m.Band.Below))
}

func (d Decision) inBand() string {
	m := d.decisive()
	band := fmt.Sprintf("%s–%s", strings.TrimSuffix(share(m.Band.Below), " %"), share(m.Band.Above))
	if m.Out >= m.Band.Below {
		return fmt.Sprintf("%s is at %s of its limit, inside its band of %s", d.Metric, shareBeside(m.Out, m.Band.Above), band)
	}
	return fmt.Sprintf("%s is at %s of its limit, but its longer mean of %s is not below its band of %s", d.Metric, share(m.Out), shareBeside(m.In, m.Band.Below), band)
}

// bound is for a count that a bound holds or has moved.
func (d Decision) bound(name string) string {
	switch {
	case d.Changes():
		return fmt.Sprintf("its %s is %d", name, d.To)
	case d.Reason == ReasonAtMax:
		return fmt.Sprintf("%s, and asks for %d, but %d is its %s", d.aboveLine(), d.Wanted, d.To, name)
	default:
		return fmt.Sprintf("%s, but %d is its %s", d.belowLine(), d.To, name)
	}
}

func (d Decision) onTheWay() string {
	if d.Metric == "" {
		return fmt.Sprintf("none of its instances has served long enough to be measured (%d warming up, %d starting)", d.Warming, d.Starting)
	}
	return fmt.Sprintf("%s, and asks for %d, which are there or on their way (%d ready, %d of them warming up, %d starting)",
		d.aboveLine(), d.Wanted, d.Ready, d.Warming, d.Starting)
}

func (d Decision) unknown() string {
	switch {
	case d.Ready == 0:
		return "none of its instances is ready"
	case d.Missing == 0:
		return fmt.Sprintf("there is too little measurement yet of its %s", readyInstances(d.Ready))
	default:
		return fmt.Sprintf("%d of its %s sent no measurement, too little to decide", d.Missing, readyInstances(d.Ready))
	}
}

// cuts tells the bounds that lie between the formula and the final count.
func (d Decision) cuts() string {
	var b strings.Builder
	for _, l := range d.Limits {
		switch l.Reason {
		case ReasonMaxStep:
			fmt.Fprintf(&b, ", in steps: %d now", l.To)
		case ReasonAtMin:
			fmt.Fprintf(&b, ", %d is its minimum", l.To)
		case ReasonAtMax:
			fmt.Fprintf(&b, ", %d is its maximum", l.To)
		case ReasonStabilizing:
			fmt.Fprintf(&b, ", %d over the stabilization window", l.To)
		case ReasonWouldOverload:
			fmt.Fprintf(&b, ", %d to carry the peaks", l.To)
		}
	}
	return b.String()
}

// share writes a fraction for reading: 0.7 is "70 %".
func share(x float64) string {
	return strconv.FormatFloat(math.Round(x*1e4)/1e2, 'f', -1, 64) + " %"
}

// shareBeside writes a measured fraction with as few digits as still show on
// which side of a line it is: 0.2996 beside 0.3 is "29.96 %", not "30 %".
func shareBeside(x, line float64) string {
	for digits := range 3 {
		s := strconv.FormatFloat(x*100, 'f', digits, 64)
		if shown, err := strconv.ParseFloat(s, 64); err == nil && (shown > line*100+epsilon) == (x > line+epsilon) && (shown < line*100-epsilon) == (x < line-epsilon) {
			return s + " %"
		}
	}
	return strconv.FormatFloat(x*100, 'f', 3, 64) + " %"
}

func readyInstances(n int) string {
	if n == 1 {
		return "1 ready instance"
	}
	return strconv.Itoa(n) + " ready instances"
}
