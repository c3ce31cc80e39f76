package compose

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/supervisord/supervisord/supervisor/state"
)

// placementRules are the keys of deploy.placement.
func placementRules() rules {
	return rules{known: map[string]shape{
		"constraints":           each(func(r *report, p place, v *value) { readConstraint(r, p, v) }),
		"preferences":           each(rules{known: map[string]shape{"spread": spread}}.check),
		"max_replicas_per_node": integer(1, mostInstances),
	}}
}

const (
	wantConstraint = "node.hostname == NAME or node.labels.KEY == VALUE, or the same with !="
	wantSpread     = "node.labels.KEY"
	labelPrefix    = "node.labels."
)

var (
	constraintPattern = regexp.MustCompile(`^\s*([a-zA-Z0-9._/-]+)\s*(==|!=)\s*(\S+)\s*$`)
	labelPattern      = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9._/-]*[a-zA-Z0-9])?$`)
)

// readConstraint gives the zero Constraint for what it reports.
func readConstraint(r *report, p place, v *value) state.Constraint {
	if !isScalar(r, p, v, wantConstraint) {
		return state.Constraint{}
	}
	k, ok := parseConstraint(v.text)
	if !ok {
		r.at(p, v, v.written(), wantConstraint)
	}
	return k
}

func parseConstraint(text string) (state.Constraint, bool) {
	m := constraintPattern.FindStringSubmatch(text)
	if m == nil {
		return state.Constraint{}, false
	}
	k := state.Constraint{Not: m[2] == "!=", Value: m[3]}
	if m[1] == "node.hostname" {
		return k, true
	}
	label, is := strings.CutPrefix(m[1], labelPrefix)
	k.Label = label
	return k, is && labelPattern.MatchString(label)
}

func spread(r *report, p place, v *value) {
	if !isScalar(r, p, v, wantSpread) {
		return
	}
	if label, is := strings.CutPrefix(v.text, labelPrefix); !is || !labelPattern.MatchString(label) {
		r.at(p, v, v.written(), wantSpread)
	}
}

// readPlacement reads what placementRules have checked.
func readPlacement(v *value) state.Placement {
	var out state.Placement
	if v == nil {
		return out
	}
	for _, k := range v.get("constraints").list() {
		if c, ok := parseConstraint(k.text); ok {
			out.Constraints = append(out.Constraints, c)
		}
	}
	for _, k := range v.get("preferences").list() {
		if s := k.get("spread"); s != nil {
			out.Spread = append(out.Spread, strings.TrimPrefix(s.text, labelPrefix))
		}
	}
	if most := v.get("max_replicas_per_node"); most != nil {
		// What is no number has been reported.
		out.MaxPerHost, _ = strconv.Atoi(most.text)
	}
	return out
}

// list are the items; none of nil.
func (v *value) list() []*value {
	if v == nil {
		return nil
	}
	return v.items
}
