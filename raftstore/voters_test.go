package raftstore

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// servers reads candidates: "a:VL" is a voter that leads. V votes, L leads,
// s has been well for a while, w is well only now, x has been lost for a while,
// g has left and is to go; a server with none of s, w, x has just gone silent.
func servers(text string) []candidate {
	var all []candidate
	for word := range strings.FieldsSeq(text) {
		id, marks, _ := strings.Cut(word, ":")
		has := func(m string) bool { return strings.Contains(marks, m) }
		all = append(all, candidate{
			id: id, voter: has("V"), leader: has("L"), well: has("s") || has("w"), stable: has("s"), lost: has("x"), left: has("g"),
		})
	}
	return all
}

func TestWhoVotes(t *testing.T) {
	for _, c := range []struct {
		name, servers string
		want          string // +id is promoted, -id demoted
	}{
		{"one alone", "a:VLs", ""},
		{"two: a second voter would only be one more that may fail", "a:VLs b:s", ""},
		{"three: the third makes it odd", "a:VLs b:s c:s", "+b +c"},
		{"three, one of them new", "a:VLs b:s c:w", ""},
		{"an even number is mended first", "a:VLs b:Vs c:s", "+c"},
		{"four", "a:VLs b:Vs c:Vs d:s", ""},
		{"five", "a:VLs b:Vs c:Vs d:s e:s", "+d +e"},
		{"six and seven do not vote", "a:VLs b:Vs c:Vs d:Vs e:Vs f:s g:s", ""},
		{"a lost voter's vote goes to one that is well", "a:VLs b:Vs c:Vx d:s", "+d -c"},
		{"a voter that has just gone silent keeps it", "a:VLs b:Vs c:V d:s", ""},
		{"a lost voter keeps it while nobody could take it", "a:VLs b:Vs c:Vx d:w", ""},
		{"two are lost, one can be replaced", "a:VLs b:Vs c:Vs d:Vx e:Vx f:s", "+f -d"},
		{"the leader keeps it whatever is said of it", "a:VLx b:Vs c:Vs d:s", ""},
		{"too many: first those that are not well", "a:VLs b:Vs c:V d:Vs", "-c"},
		{"too many, all well: by name, never the leader", "a:VLs b:Vs c:Vs d:Vs", "-b"},
		{"one that leaves is not counted", "a:VLs b:Vs c:Vsg d:s", "+d"},
		{"while a voter leaves, nobody else loses a vote", "a:VLs b:Vs c:Vsg d:Vx e:s", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			promote, demote := voting(servers(c.servers), defaultVoters)
			var got []string
			for _, id := range promote {
				got = append(got, "+"+id)
			}
			for _, id := range demote {
				got = append(got, "-"+id)
			}
			if diff := cmp.Diff(c.want, strings.Join(got, " ")); diff != "" {
				t.Errorf("%s (-want +got):\n%s", c.servers, diff)
			}
		})
	}
}

func TestWhoCanBeTakenOut(t *testing.T) {
	for _, c := range []struct {
		name, servers, id string
		want              bool
	}{
		{"one of three, the rest is well", "a:VLs b:Vs c:Vx", "c", true},
		{"one of three, another is silent", "a:VLs b:V c:Vx", "c", false},
		{"the well one of two", "a:VLs b:Vs", "b", true},
		{"the last one", "a:VLs", "a", false},
		{"one without a vote", "a:VLs b:Vs c:Vs d:x", "d", true},
		{"two are to go, three stay", "a:VLs b:Vs c:Vs d:Vsg e:Vsg", "d", true},
		{"two are to go, one stays", "a:VLs b:Vsg c:Vsg", "b", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := removable(servers(c.servers), c.id); got != c.want {
				t.Errorf("%s of %s: %v, want %v", c.id, c.servers, got, c.want)
			}
		})
	}
}

// TestVotesMoveWithoutRisk draws clusters and carries out what is decided: the
// quorum that was there is there at every step, and it comes to an end.
func TestVotesMoveWithoutRisk(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var all []candidate
		for n := range rapid.IntRange(1, 9).Draw(t, "servers") {
			c := candidate{id: fmt.Sprint(n), voter: n == 0 || rapid.Bool().Draw(t, "voter"), leader: n == 0}
			switch rapid.IntRange(0, 3).Draw(t, "health") {
			case 0:
				c.well, c.stable = true, true
			case 1:
				c.well = true
			case 2:
				c.lost = true
			}
			if n == 0 {
				c.well, c.stable, c.lost = true, true, false
			}
			c.left = n > 0 && rapid.IntRange(0, 5).Draw(t, "left") == 0
			all = append(all, c)
		}
		quorum := func() (voters, well int) {
			for _, c := range all {
				if c.voter {
					voters++
					if c.well {
						well++
					}
				}
			}
			return voters, well
		}
		find := func(id string) *candidate {
			return &all[slices.IndexFunc(all, func(c candidate) bool { return c.id == id })]
		}
		for round := 0; ; round++ {
			if round > 20 {
				t.Fatalf("it does not come to an end: %+v", all)
			}
			voters, well := quorum()
			promote, demote := voting(all, defaultVoters)
			if len(promote)+len(demote) == 0 {
				break
			}
			for _, id := range promote {
				c := find(id)
				if c.voter || !c.stable || c.left {
					t.Fatalf("%+v became a voter", *c)
				}
				c.voter = true
			}
			for _, id := range demote {
				c := find(id)
				if !c.voter || c.leader || c.left {
					t.Fatalf("%+v lost its vote", *c)
				}
				c.voter = false
			}
			if v, w := quorum(); 2*well > voters && 2*w <= v {
				t.Fatalf("%d of %d voters were well, now %d of %d: no quorum", well, voters, w, v)
			}
		}
		voters, leaving := 0, 0
		for _, c := range all {
			if c.voter && c.left {
				leaving++
			} else if c.voter {
				voters++
			}
		}
		if voters > defaultVoters && leaving == 0 {
			t.Errorf("%d voters in the end", voters)
		}
	})
}
