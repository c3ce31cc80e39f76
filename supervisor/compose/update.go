package compose

import (
	"math"
	"strconv"
	"time"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/supervisord/supervisord/supervisor/state"
)

// updateRules are the keys of deploy.update_config.
func updateRules() rules {
	return rules{known: map[string]shape{
		"parallelism":       integer(0, mostInstances),
		"delay":             duration,
		"monitor":           duration,
		"failure_action":    oneOf(string(state.OnFailureRollBack), string(state.OnFailurePause), string(state.OnFailureContinue)),
		"max_failure_ratio": ratio,
		"order":             oneOf("start-first", "stop-first"),
	}}
}

func ratio(r *report, p place, v *value) {
	const want = "a number from 0 to 1, such as 0.2"
	if !isScalar(r, p, v, want) {
		return
	}
	if f, err := strconv.ParseFloat(v.text, 64); err != nil || !(f >= 0 && f <= 1) {
		r.at(p, v, v.written(), want)
	}
}

// readUpdate reads what updateRules have checked; what is wrong there has been
// reported and is left out. A parallelism of 0 is all at once, as in compose.
func readUpdate(v *value) state.Update {
	var u state.Update
	if v == nil || v.kind != mapKind {
		return u
	}
	if n := v.get("parallelism"); n != nil {
		u.Parallelism, _ = strconv.Atoi(n.text)
		if u.Parallelism == 0 {
			u.Parallelism = mostInstances
		}
	}
	if a := v.get("failure_action"); a != nil {
		u.OnFailure = state.OnFailure(a.text)
	}
	if m := v.get("max_failure_ratio"); m != nil {
		if f, err := strconv.ParseFloat(m.text, 64); err == nil && !math.IsNaN(f) {
			u.MaxFailureRatio = f
		}
	}
	if o := v.get("order"); o != nil {
		u.StopFirst = o.text == "stop-first"
	}
	u.Delay, u.Monitor = composeDuration(v.get("delay")), composeDuration(v.get("monitor"))
	return u
}

func composeDuration(v *value) time.Duration {
	var d types.Duration
	if v == nil || d.DecodeMapstructure(v.text) != nil {
		return 0
	}
	return time.Duration(d)
}

// readDeploy reads x-deploy:
//
//	ready_within: 1m
func readDeploy(r *report, p place, v *value, u *state.Update) {
	rules{closed: true, known: map[string]shape{
		"ready_within": into(&u.ReadyWithin, readDuration),
	}}.check(r, p, v)
}
