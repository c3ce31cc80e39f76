package backup

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Retention says how many backups are kept: the last ones, and the newest of
// each of the last days, ISO weeks and months that have one. A backup that one
// rule keeps is kept. The zero Retention keeps all.
type Retention struct {
	Last    int `json:"last,omitempty"`
	Daily   int `json:"daily,omitempty"`
	Weekly  int `json:"weekly,omitempty"`
	Monthly int `json:"monthly,omitempty"`
}

// Kept is what retention looks at of a backup.
type Kept struct {
	ID string
	// At is when its dump began.
	At time.Time
	// Restorable says that a drill has restored it, and that nothing was found
	// wrong with it since.
	Restorable bool
	// Whole says that every target has it; a partial one is never the reason
	// to drop a whole one.
	Whole bool
}

// Retain splits backups into those to keep and those to drop, both newest
// first. Days, weeks and months are those of the zone.
//
// Whatever the rules say, it keeps the newest backup, the newest whole one, and
// the newest that is known to restore.
func Retain(all []Kept, r Retention, zone *time.Location) (keep, drop []Kept) {
	sorted := slices.Clone(all)
	slices.SortFunc(sorted, func(a, b Kept) int {
		return cmp.Or(b.At.Compare(a.At), cmp.Compare(b.ID, a.ID))
	})
	if r == (Retention{}) {
		return sorted, nil
	}
	chosen := make([]bool, len(sorted))
	newest := func(is func(Kept) bool) int { return slices.IndexFunc(sorted, is) }
	for i := range sorted {
		chosen[i] = i == 0 || i < r.Last
	}
	if i := newest(func(k Kept) bool { return k.Whole }); i >= 0 {
		chosen[i] = true
	}
	if i := newest(func(k Kept) bool { return k.Restorable }); i >= 0 {
		chosen[i] = true
	}
	for _, rule := range []struct {
		n      int
		period func(time.Time) string
	}{
		{r.Daily, func(t time.Time) string { return t.Format(time.DateOnly) }},
		{r.Weekly, func(t time.Time) string { y, w := t.ISOWeek(); return fmt.Sprintf("%d-%d", y, w) }},
		{r.Monthly, func(t time.Time) string { return t.Format("2006-01") }},
	} {
		choose(sorted, chosen, rule.n, func(k Kept) string { return rule.period(k.At.In(zone)) })
	}
	for i, k := range sorted {
		if chosen[i] {
			keep = append(keep, k)
		} else {
			drop = append(drop, k)
		}
	}
	return keep, drop
}

// choose marks the newest backup of each of the last n periods, a whole one
// where the period has one.
func choose(sorted []Kept, chosen []bool, n int, period func(Kept) string) {
	for i := 0; i < len(sorted) && n > 0; n-- {
		end := i
		for end < len(sorted) && period(sorted[end]) == period(sorted[i]) {
			end++
		}
		best := i
		if w := slices.IndexFunc(sorted[i:end], func(k Kept) bool { return k.Whole }); w >= 0 {
			best = i + w
		}
		chosen[best] = true
		i = end
	}
}
