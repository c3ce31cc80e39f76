package backup_test

import (
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/supervisord/supervisord/backup"
)

func at(t testing.TB, text string) time.Time {
	t.Helper()
	out, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func schedule(t testing.TB, text, zone string) backup.Schedule {
	t.Helper()
	s, err := backup.ParseSchedule(text, zone)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// What is due around the two days a year on which the clock is moved.
func TestNextAroundClockChanges(t *testing.T) {
	for _, c := range []struct {
		name, zone, cron, after string
		want                    []string
	}{
		{"an ordinary day", "Europe/Berlin", "0 3 * * *", "2026-11-26T00:00:00Z", []string{"2026-11-26T02:00:00Z", "2026-11-27T02:00:00Z"}},
		{"UTC by default", "", "0 3 * * *", "2026-11-26T00:00:00Z", []string{"2026-11-26T03:00:00Z"}},
		{"skipped in spring: at the gap's end", "Europe/Berlin", "30 2 * * *", "2026-03-28T02:00:00Z",
			[]string{"2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"}},
		{"skipped and not skipped at one moment: once", "Europe/Berlin", "0 2,3 * * *", "2026-03-28T05:00:00Z",
			[]string{"2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z"}},
		{"many skipped: once", "Europe/Berlin", "*/20 2 * * *", "2026-03-28T05:00:00Z",
			[]string{"2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z", "2026-03-30T00:20:00Z"}},
		{"twice in autumn: the first time", "Europe/Berlin", "30 2 * * *", "2026-10-24T05:00:00Z",
			[]string{"2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"}},
		{"every hour in autumn: every hour that passes", "Europe/Berlin", "0 * * * *", "2026-10-24T23:00:00Z",
			[]string{"2026-10-25T00:00:00Z", "2026-10-25T01:00:00Z", "2026-10-25T02:00:00Z"}},
		{"every hour in spring", "Europe/Berlin", "0 * * * *", "2026-03-29T00:00:00Z",
			[]string{"2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z"}},
		{"a midnight that does not exist", "America/Sao_Paulo", "0 0 * * *", "2018-11-03T04:00:00Z",
			[]string{"2018-11-04T03:00:00Z", "2018-11-05T02:00:00Z"}},
		{"a gap of half an hour", "Australia/Lord_Howe", "15 2 * * *", "2026-10-02T16:00:00Z",
			[]string{"2026-10-03T15:30:00Z", "2026-10-04T15:15:00Z"}},
		{"half an hour twice", "Australia/Lord_Howe", "45 1 * * *", "2026-04-03T15:00:00Z",
			[]string{"2026-04-04T14:45:00Z", "2026-04-05T15:15:00Z"}},
		{"every counts from the last", "", "@every 6h", "2026-03-29T00:10:00Z", []string{"2026-03-29T06:10:00Z", "2026-03-29T12:10:00Z"}},
		{"weekly", "Europe/Berlin", "@weekly", "2026-11-26T00:00:00Z", []string{"2026-11-28T23:00:00Z", "2026-12-05T23:00:00Z"}},
		{"leap days", "", "0 0 29 2 *", "2026-01-01T00:00:00Z", []string{"2028-02-29T00:00:00Z"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, now := schedule(t, c.cron, c.zone), at(t, c.after)
			for _, want := range c.want {
				if now = s.Next(now); !now.Equal(at(t, want)) {
					t.Fatalf("due %s, want %s", now.Format(time.RFC3339), want)
				}
			}
		})
	}
}

func TestLastIsOneHoweverManyWereMissed(t *testing.T) {
	for _, c := range []struct{ name, cron, after, now, want string }{
		{"none", "0 3 * * *", "2026-11-26T03:00:00Z", "2026-11-27T02:59:59Z", ""},
		{"on the dot", "0 3 * * *", "2026-11-26T03:00:00Z", "2026-11-27T03:00:00Z", "2026-11-27T03:00:00Z"},
		{"five days away", "0 3 * * *", "2026-11-20T03:00:00Z", "2026-11-26T02:00:00Z", "2026-11-25T03:00:00Z"},
		{"years away", "*/5 * * * *", "2020-01-01T00:00:00Z", "2026-11-26T02:03:00Z", "2026-11-26T02:00:00Z"},
		{"every", "@every 6h", "2026-11-20T03:00:00Z", "2026-11-21T02:00:00Z", "2026-11-20T21:00:00Z"},
	} {
		t.Run(c.name, func(t *testing.T) {
			last, ok := schedule(t, c.cron, "").Last(at(t, c.after), at(t, c.now))
			if ok != (c.want != "") || ok && !last.Equal(at(t, c.want)) {
				t.Errorf("last %v %v, want %q", last, ok, c.want)
			}
		})
	}
}

func TestWrongSchedulesSayWhere(t *testing.T) {
	for _, c := range []struct {
		text   string
		offset int
	}{
		{"61 * * * *", 0}, {"0 24 * * *", 2}, {"0  3 * * x", 9}, {"0 3 * *", 7}, {"0 3 * * * 2026", 10}, {" 0 3 32 * *", 5},
		{"0 0 30 2 *", 4}, {"@fortnightly", 0}, {"@every 6", 7}, {"@every 5s", 7}, {"@every", 6}, {"", 0}, {"TZ=UTC 0 3 * * *", 0},
	} {
		_, err := backup.ParseSchedule(c.text, "UTC")
		wrong, ok := errors.AsType[*backup.ScheduleError](err)
		if !ok || wrong.Offset != c.offset {
			t.Errorf("%q: %#v, want offset %d", c.text, err, c.offset)
		}
	}
	for _, zone := range []string{"Mars/Olympus", "Local", "../etc/passwd"} {
		if _, err := backup.ParseSchedule("0 3 * * *", zone); err == nil {
			t.Errorf("zone %q is taken", zone)
		}
	}
}

// Whatever the zone and the line: time goes forward, nothing comes twice, and
// what Last finds is what Next would have come to.
func TestScheduleProperties(t *testing.T) {
	zones := []string{"UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "America/Sao_Paulo", "Asia/Kathmandu", "Africa/Casablanca"}
	lines := []string{"0 3 * * *", "30 2 * * *", "*/15 * * * *", "0 */2 * * *", "5 0,12 1,15 * *", "45 1 * * 0", "@daily", "@every 90m"}
	rapid.Check(t, func(t *rapid.T) {
		s, err := backup.ParseSchedule(rapid.SampledFrom(lines).Draw(t, "line"), rapid.SampledFrom(zones).Draw(t, "zone"))
		if err != nil {
			t.Fatal(err)
		}
		after := time.Unix(rapid.Int64Range(1_500_000_000, 1_900_000_000).Draw(t, "after"), 0)
		first := s.Next(after)
		if !first.After(after) {
			t.Fatalf("next of %v is %v", after, first)
		}
		second := s.Next(first)
		if !second.After(first) {
			t.Fatalf("next of %v is %v", first, second)
		}
		between := first.Add(time.Duration(rapid.Int64Range(0, int64(second.Sub(first))-1).Draw(t, "between")))
		if last, ok := s.Last(after, between); !ok || !last.Equal(first) {
			t.Fatalf("last of (%v, %v] is %v %v, want %v", after, between, last, ok, first)
		}
	})
}
