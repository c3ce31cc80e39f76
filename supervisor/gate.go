package supervisor

import (
	"context"
	"slices"
	"sync/atomic"

	"github.com/supervisord/supervisord/raftstore"
)

// gate keeps servers out that were removed. One that still is in the log's
// configuration is let in: it must hear that it is taken out, and until then
// its vote may be needed.
type gate struct {
	ctx     context.Context
	replica *replica
	store   atomic.Pointer[raftstore.Store]
}

// denied implements wire.Options.Denied.
func (g *gate) denied(id string) bool {
	c, _ := g.replica.Current()
	if _, removed := c.Denied.Get(id); !removed {
		return false
	}
	s := g.store.Load()
	if s == nil {
		return true
	}
	members, err := s.Members(g.ctx)
	return err != nil || !slices.ContainsFunc(members, func(m raftstore.Member) bool { return m.ID == id })
}
