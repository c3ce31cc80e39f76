package agent

import (
	"math"
	"time"

	"github.com/supervisord/supervisord/lbconfig"
	"github.com/supervisord/supervisord/supervisor/state"
)

// rampSteps is in how many steps a fresh instance comes to its full share:
// each costs a reload.
const rampSteps = 4

// ramp is how many of the steps an instance has come that began to serve some
// time ago, and when the next one is due; 0 where it has come to the last.
func ramp(age, over time.Duration) (steps int, next time.Duration) {
	step := over / rampSteps
	if step <= 0 || age >= over-step {
		return rampSteps, 0
	}
	steps = 1 + int(max(0, age)/step)
	return steps, time.Duration(steps) * step
}

// served is an instance that nginx sends to.
type served struct {
	state.Instance
	server lbconfig.Server
	steps  int
}

// weigh gives the instances of a site their weights: those of a canary the
// share of all requests that it should have, and fresh ones less than others
// until they are warm. Weights that say nothing are left out.
func weigh(all []served, share float64, scale int) {
	canaries := 0
	plain := true
	for _, s := range all {
		if s.Canary {
			canaries++
		}
		plain = plain && s.steps == all[0].steps
	}
	stable := len(all) - canaries
	if plain && (canaries == 0 || stable == 0) {
		return
	}
	of, canary := scale, scale
	if canaries > 0 && stable > 0 {
		of = unit(scale, 1-share, stable)
		canary = unit(scale, share, canaries)
	}
	divisor := 0
	for n := range all {
		weight := of
		if all[n].Canary {
			weight = canary
		}
		weight = max(1, weight*all[n].steps/rampSteps)
		all[n].server.Weight = weight
		divisor = gcd(divisor, weight)
	}
	for n := range all {
		all[n].server.Weight /= divisor
	}
}

// unit is the weight of one of n instances that have a share together.
func unit(scale int, share float64, n int) int {
	return max(rampSteps, int(math.Round(float64(scale)*share/float64(n))))
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// scaleOf is the sum of all weights of a site with a canary. Consistent hashing
// keeps some hundred points for each unit of weight, so that it must be small
// there, and the shares are less exact.
func scaleOf(in lbconfig.Ingress) int {
	if in.StickyCookie != "" {
		return 200
	}
	return 10_000
}
