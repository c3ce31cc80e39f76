package compose

import (
	"strings"
	"time"

	"github.com/supervisord/supervisord/autoscale"
)

// mostInstances bounds x-autoscale and deploy.replicas of one service.
const mostInstances = 1000

// readAutoscale reads x-autoscale:
//
//	min: 2
//	max: 12
//	cpu:    {scale_out_above: 70%, scale_in_below: 30%}
//	memory: {scale_out_above: 80%, scale_in_below: 50%}
//	sample_every: 1s
//	warm_up: 10s
//	scale_out: {window: 2s, stabilization: 0s, cooldown: 10s, max_step: 100%}
//	scale_in:  {window: 30s, stabilization: 3m, cooldown: 1m, max_step: 1}
//
// All but min, max and one of cpu and memory may be absent.
func readAutoscale(r *report, p place, v *value) *autoscale.Policy {
	before := len(r.errs)
	var policy autoscale.Policy
	bound := func(into *int) shape {
		return func(r *report, p place, v *value) { *into = int(readInt(r, p, v, 1, mostInstances)) }
	}
	rules{closed: true, known: map[string]shape{
		"min":          bound(&policy.Min),
		"max":          bound(&policy.Max),
		"cpu":          readBand(&policy.CPU),
		"memory":       readBand(&policy.Memory),
		"sample_every": into(&policy.SampleEvery, readDuration),
		"warm_up":      into(&policy.WarmUp, readPause),
		"scale_out":    readPace(&policy.Out),
		"scale_in":     readPace(&policy.In),
	}}.check(r, p, v)
	for _, name := range []string{"min", "max"} {
		if v.kind == mapKind && v.get(name) == nil {
			r.path(p.child(name), "missing", "the least and the most instances, min and max")
		}
	}
	if len(r.errs) > before {
		return nil
	}
	full := policy.WithDefaults()
	if !r.policy(p, full.Validate()) {
		return nil
	}
	return &full
}

// into is a shape that stores what a reader gives.
func into[T any](at *T, read func(*report, place, *value) T) shape {
	return func(r *report, p place, v *value) { *at = read(r, p, v) }
}

func readBand(band *autoscale.Band) shape {
	return func(r *report, p place, v *value) {
		rules{closed: true, known: map[string]shape{
			"scale_out_above": into(&band.Above, readPercent),
			"scale_in_below":  into(&band.Below, readPercent),
		}}.check(r, p, v)
		for _, name := range []string{"scale_out_above", "scale_in_below"} {
			if v.kind == mapKind && v.get(name) == nil {
				r.path(p.child(name), "missing", "both scale_out_above and scale_in_below")
			}
		}
	}
}

func readPace(pace *autoscale.Pace) shape {
	return rules{closed: true, known: map[string]shape{
		"window":        into(&pace.Window, readDuration),
		"stabilization": into(&pace.Stabilization, readPause),
		"cooldown":      into(&pace.Cooldown, readPause),
		"max_step":      into(&pace.MaxStep, readStep),
	}}.check
}

// readStep reads a number of instances or a percentage of them.
func readStep(r *report, p place, v *value) autoscale.Step {
	if v.kind != scalarKind {
		r.wrongKind(p, v, "a number of instances such as 4, or a percentage such as 50%")
		return autoscale.Step{}
	}
	if strings.HasSuffix(v.text, "%") {
		return autoscale.Step{Fraction: readPercent(r, p, v)}
	}
	return autoscale.Step{Count: int(readInt(r, p, v, 1, mostInstances))}
}

// readPause reads a duration that may be none: 0s.
func readPause(r *report, p place, v *value) time.Duration {
	before := len(r.errs)
	d := readDuration(r, p, v)
	if d == 0 && len(r.errs) == before {
		return autoscale.None
	}
	return d
}
