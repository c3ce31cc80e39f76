package raftstore

import (
	"cmp"
	"slices"
)

// candidate is a server as far as it matters for voting.
type candidate struct {
	id     string
	voter  bool
	leader bool
	// well: it answers and has the log. stable: it has been well for a while.
	// lost: it has not been well for a while.
	well, stable, lost bool
	// left: it was removed, and only has to go.
	left bool
}

// voting decides who becomes a voter and who is one no longer: an odd number
// of voters, at most `most`, of those that are well; a voter that is lost
// gives its vote to a stable server that has none. A voter that is not well
// keeps its vote while there is nobody to take it: fewer voters would need the
// same quorum. The leader keeps its vote. While a voter that has left is still
// there, nobody else loses his: together that could be the quorum.
func voting(all []candidate, most int) (promote, demote []string) {
	all = slices.SortedFunc(slices.Values(all), func(a, b candidate) int { return cmp.Compare(a.id, b.id) })
	var servers, voters, leaving int
	var spares, lost []candidate
	for _, c := range all {
		if c.left {
			if c.voter {
				leaving++
			}
			continue
		}
		servers++
		switch {
		case c.voter:
			voters++
			if c.lost && !c.leader {
				lost = append(lost, c)
			}
		case c.stable:
			spares = append(spares, c)
		}
	}
	target := odd(min(most, servers))
	if leaving > 0 {
		lost = nil
	} else if voters > target {
		return nil, surplus(all, voters-target)
	}
	for n := range min(len(lost), len(spares)) {
		demote = append(demote, lost[n].id)
		promote = append(promote, spares[n].id)
	}
	spares = spares[len(promote):]
	// An even number is mended first, then pairs are added.
	for n := odd(min(target, voters+len(spares))) - voters; n > 0; n-- {
		promote = append(promote, spares[0].id)
		spares = spares[1:]
	}
	return promote, demote
}

// odd is the largest odd number up to n; 1 at the least.
func odd(n int) int { return max(1, n-1+n%2) }

// surplus are n voters to lose their vote, those that are not well first.
func surplus(all []candidate, n int) []string {
	var out []string
	for _, well := range []bool{false, true} {
		for _, c := range all {
			if len(out) < n && c.voter && !c.leader && !c.left && c.well == well {
				out = append(out, c.id)
			}
		}
	}
	return out
}

// removable says whether a server can be taken out: of the voters that stay, a
// majority is well.
func removable(all []candidate, id string) bool {
	voters, well := 0, 0
	for _, c := range all {
		if !c.voter || c.id == id {
			continue
		}
		voters++
		if c.well && !c.left {
			well++
		}
	}
	return 2*well > voters
}
