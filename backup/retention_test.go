package backup_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/supervisord/supervisord/backup"
)

// daily are whole backups of the days before a moment, the newest first.
func daily(n int) []backup.Kept {
	first := time.Date(2026, 11, 26, 3, 0, 0, 0, time.UTC)
	var all []backup.Kept
	for i := range n {
		all = append(all, backup.Kept{ID: fmt.Sprintf("d%03d", i), At: first.AddDate(0, 0, -i), Whole: true})
	}
	return all
}

func ids(all []backup.Kept) []string {
	var out []string
	for _, k := range all {
		out = append(out, k.ID)
	}
	return out
}

func TestRetain(t *testing.T) {
	for _, c := range []struct {
		name   string
		all    []backup.Kept
		change func([]backup.Kept)
		rule   backup.Retention
		want   []string
	}{
		{"no rule keeps all", daily(3), nil, backup.Retention{}, []string{"d000", "d001", "d002"}},
		{"none", nil, nil, backup.Retention{Last: 1}, nil},
		{"the last", daily(9), nil, backup.Retention{Last: 2}, []string{"d000", "d001"}},
		{"days", daily(9), nil, backup.Retention{Daily: 3}, []string{"d000", "d001", "d002"}},
		// The 26th is a Thursday; weeks end on Sundays: the 22nd and 15th.
		{"weeks", daily(30), nil, backup.Retention{Weekly: 3}, []string{"d000", "d004", "d011"}},
		{"months", daily(90), nil, backup.Retention{Monthly: 3}, []string{"d000", "d026", "d057"}},
		{"all rules", daily(90), nil, backup.Retention{Last: 3, Daily: 4, Weekly: 2, Monthly: 2}, []string{"d000", "d001", "d002", "d003", "d004", "d026"}},
		{"what is known to restore stays", daily(9), func(all []backup.Kept) { all[3].Restorable = true },
			backup.Retention{Last: 1}, []string{"d000", "d003"}},
		{"a partial one pushes out no whole one", daily(9), func(all []backup.Kept) { all[0].Whole, all[1].Whole = false, false },
			backup.Retention{Last: 1}, []string{"d000", "d002"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.change != nil {
				c.change(c.all)
			}
			keep, drop := backup.Retain(c.all, c.rule, time.UTC)
			if diff := cmp.Diff(c.want, ids(keep)); diff != "" {
				t.Errorf("kept (-want +got):\n%s", diff)
			}
			if len(keep)+len(drop) != len(c.all) {
				t.Errorf("%d kept, %d dropped of %d", len(keep), len(drop), len(c.all))
			}
		})
	}
}

// Two on one day, and the zone decides which day it is.
func TestRetainCountsDaysOfTheZone(t *testing.T) {
	all := []backup.Kept{
		{ID: "b", At: time.Date(2026, 6, 2, 0, 30, 0, 0, time.UTC), Whole: true},
		{ID: "a", At: time.Date(2026, 6, 1, 22, 30, 0, 0, time.UTC), Whole: true},
	}
	if keep, _ := backup.Retain(all, backup.Retention{Daily: 2}, time.UTC); len(keep) != 2 {
		t.Errorf("two days of UTC keep %v", ids(keep))
	}
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	if keep, _ := backup.Retain(all, backup.Retention{Daily: 2}, berlin); len(keep) != 1 {
		t.Errorf("one day of Berlin keeps %v", ids(keep))
	}
}

func TestRetainProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 40).Draw(t, "n")
		var all []backup.Kept
		for i := range n {
			all = append(all, backup.Kept{
				ID: fmt.Sprint(i), At: time.Unix(rapid.Int64Range(1_700_000_000, 1_720_000_000).Draw(t, "at"), 0),
				Restorable: rapid.Bool().Draw(t, "restorable"), Whole: rapid.Bool().Draw(t, "whole"),
			})
		}
		count := rapid.IntRange(0, 5)
		rule := backup.Retention{Last: count.Draw(t, "last"), Daily: count.Draw(t, "daily"), Weekly: count.Draw(t, "weekly"), Monthly: count.Draw(t, "monthly")}
		before := slices.Clone(all)
		keep, drop := backup.Retain(all, rule, time.UTC)
		if !slices.Equal(before, all) {
			t.Fatal("the input has changed")
		}
		if both := slices.Concat(keep, drop); len(both) != n {
			t.Fatalf("%d of %d are left", len(both), n)
		}
		newest := func(is func(backup.Kept) bool) (best backup.Kept, ok bool) {
			for _, k := range all {
				if is(k) && (!ok || k.At.After(best.At)) {
					best, ok = k, true
				}
			}
			return best, ok
		}
		for what, is := range map[string]func(backup.Kept) bool{
			"the newest":                       func(backup.Kept) bool { return true },
			"the newest known to restore":      func(k backup.Kept) bool { return k.Restorable },
			"the newest that all targets have": func(k backup.Kept) bool { return k.Whole },
		} {
			best, ok := newest(is)
			same := func(k backup.Kept) bool { return is(k) && k.At.Equal(best.At) }
			if ok && !slices.ContainsFunc(keep, same) {
				t.Fatalf("%s, %v, is dropped", what, best)
			}
		}
		// What is kept is kept again: a second look drops nothing more.
		if _, more := backup.Retain(keep, rule, time.UTC); len(more) > 0 && !slices.ContainsFunc(keep, func(k backup.Kept) bool { return !k.Whole }) {
			t.Fatalf("a second look drops %v", ids(more))
		}
	})
}
