package supervisor

import (
	"cmp"
	"context"
	"net"
	"strconv"
	"time"

	"github.com/supervisord/supervisord/supervisor/agent"
	"github.com/supervisord/supervisord/supervisor/probe"
	"github.com/supervisord/supervisord/supervisor/state"
)

// prober asks instances by what the compose file says of their service: the
// ingress' health path or port, or a database's own protocol.
type prober struct{ *probe.Prober }

const defaultProbeTimeout = 5 * time.Second

// Probe implements agent.Prober.
func (p prober) Probe(ctx context.Context, s state.Service, c agent.Container) (applies bool, err error) {
	check, ok := checkOf(s, c)
	if !ok {
		return false, nil
	}
	_, err = p.Prober.Probe(ctx, check)
	return true, err
}

func checkOf(s state.Service, c agent.Container) (probe.Check, bool) {
	switch {
	case s.Ingress != nil && c.Address != "":
		h := s.Ingress.Health
		check := probe.Check{Kind: probe.TCP, Address: c.Address, Timeout: cmp.Or(h.Timeout, defaultProbeTimeout)}
		if h.Path != "" {
			check.Kind, check.Path = probe.HTTP, h.Path
		}
		return check, true
	case s.Database != nil && c.IP != "":
		return probe.Check{
			Kind:    probe.Kind(s.Database.Engine),
			Address: net.JoinHostPort(c.IP, strconv.Itoa(s.Database.Port)),
			Timeout: defaultProbeTimeout,
		}, true
	}
	return probe.Check{}, false
}
