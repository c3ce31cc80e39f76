package compose

import (
	"strings"

	"github.com/supervisord/supervisord/autoscale"
	"github.com/supervisord/supervisord/lbconfig"
)

// policy and ingress give what the packages of the deciders find wrong with a
// whole value its place in the file. They say whether it is in order.

func (r *report) policy(p place, err error) bool {
	for _, e := range autoscale.PolicyErrors(err) {
		r.path(p.child(split(e.Key)...), e.Problem, "")
	}
	return r.covers(p, err)
}

func (r *report) ingress(p place, err error) bool {
	// Where the file's form differs from the field.
	keys := map[string]string{"sticky_cookie": "sticky.cookie", "rate_limit.per_second": "rate_limit.rate"}
	for _, e := range lbconfig.FieldErrors(err) {
		key := e.Field
		if k, ok := keys[key]; ok {
			key = k
		}
		r.path(p.child(split(key)...), e.Problem, "")
	}
	return r.covers(p, err)
}

// covers makes sure that no error is lost, whatever its form.
func (r *report) covers(p place, err error) bool {
	if err != nil && !r.isBad(p) {
		r.path(p, err.Error(), "")
	}
	return err == nil
}

// split turns "cors.origins[0]" into a place.
func split(key string) place {
	var p place
	for part := range strings.SplitSeq(key, ".") {
		name, rest, indexed := strings.Cut(part, "[")
		if name != "" {
			p = append(p, name)
		}
		if indexed {
			p = append(p, "["+rest)
		}
	}
	return p
}
