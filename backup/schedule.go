package backup

import (
	"fmt"
	"strings"
	"time"

	cron "github.com/netresearch/go-cron"
)

// Schedule says when something is due: a cron line of five fields in a time
// zone, or a descriptor such as @daily or "@every 6h".
//
// A cron line speaks of the clock on the wall, and twice a year that clock is
// moved. A time that is skipped is due at once after the gap. A time that comes
// twice is due the first time only; where the hour is "*" or "*/n" it is due
// both times, because such a line means every hour that passes. "@every" counts
// from the last due time and knows no zone.
type Schedule struct {
	rule  cron.Schedule
	every time.Duration
	zone  *time.Location
	// hourly: the hour's field is a star.
	hourly bool
}

// ScheduleError says what is wrong with a schedule, and where in its text.
type ScheduleError struct {
	// Offset is the byte of the text that the problem begins at.
	Offset  int
	Problem string
}

func (e *ScheduleError) Error() string { return e.Problem }

// LeastEvery is the shortest interval of a schedule.
const LeastEvery = time.Minute

// maxShift is more than any zone has ever moved its clock by at once, the date
// line aside.
const maxShift = 3 * time.Hour

// ParseSchedule reads a schedule; zone is the name of a time zone such as
// "Europe/Berlin", "" for UTC. The error is a *ScheduleError where it is about
// the text.
func ParseSchedule(text, zone string) (Schedule, error) {
	loc, err := time.LoadLocation(zone)
	if err != nil || strings.EqualFold(zone, "local") {
		// The hosts' own zones may differ.
		return Schedule{}, fmt.Errorf("%q is no time zone: want a name such as Europe/Berlin", zone)
	}
	trimmed := strings.TrimSpace(text)
	switch {
	case trimmed == "":
		return Schedule{}, &ScheduleError{0, "it is empty"}
	case strings.HasPrefix(trimmed, "@every"):
		return parseEvery(text, trimmed)
	case strings.HasPrefix(trimmed, "@"):
		rule, err := parser(cron.Descriptor).Parse(trimmed)
		if err != nil {
			return Schedule{}, &ScheduleError{strings.Index(text, "@"), fmt.Sprintf("%q is unknown: want @hourly, @daily, @weekly, @monthly, @yearly or @every DURATION", trimmed)}
		}
		return Schedule{rule: rule, zone: loc, hourly: trimmed == "@hourly"}, nil
	case strings.Contains(trimmed, "="):
		return Schedule{}, &ScheduleError{strings.Index(text, trimmed), "the zone has a key of its own, timezone"}
	}
	return parseCron(text, loc)
}

func parser(more cron.ParseOption) cron.Parser {
	return cron.MustNewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | more)
}

func parseEvery(text, trimmed string) (Schedule, error) {
	rest := strings.TrimPrefix(trimmed, "@every")
	at := strings.Index(text, "@every") + len("@every")
	word := strings.TrimSpace(rest)
	if i := strings.Index(rest, word); word != "" {
		at += i
	}
	d, err := time.ParseDuration(word)
	switch {
	case err != nil || !strings.HasPrefix(rest, " "):
		return Schedule{}, &ScheduleError{at, fmt.Sprintf("%q is no duration: want @every and a duration such as 6h", word)}
	case d < LeastEvery:
		return Schedule{}, &ScheduleError{at, fmt.Sprintf("%s is too often: want at least %s", word, LeastEvery)}
	}
	return Schedule{every: d.Truncate(time.Second)}, nil
}

// parseCron finds out which field is wrong by trying each alone, since the
// parser does not say where.
func parseCron(text string, loc *time.Location) (Schedule, error) {
	names := []string{"minute", "hour", "day of month", "month", "day of week"}
	fields, offsets := split(text)
	if len(fields) != len(names) {
		at := len(strings.TrimRight(text, " \t"))
		if len(fields) > len(names) {
			at = offsets[len(names)]
		}
		return Schedule{}, &ScheduleError{at, fmt.Sprintf("it has %d fields: want 5, minute hour day month weekday", len(fields))}
	}
	p := parser(0)
	for i, f := range fields {
		line := []string{"*", "*", "*", "*", "*"}
		line[i] = f
		if _, err := p.Parse("CRON_TZ=UTC " + strings.Join(line, " ")); err != nil {
			return Schedule{}, &ScheduleError{offsets[i], fmt.Sprintf("%s %q: %v", names[i], f, err)}
		}
	}
	rule, err := p.Parse("CRON_TZ=UTC " + strings.Join(fields, " "))
	if err != nil {
		return Schedule{}, &ScheduleError{offsets[0], err.Error()}
	}
	s := Schedule{rule: rule, zone: loc, hourly: strings.HasPrefix(fields[1], "*")}
	if rule.Next(time.Unix(0, 0).UTC()).IsZero() {
		return Schedule{}, &ScheduleError{offsets[2], "such a day never comes"}
	}
	return s, nil
}

func split(text string) (fields []string, offsets []int) {
	at := 0
	for _, f := range strings.Fields(text) {
		at += strings.Index(text[at:], f)
		fields, offsets = append(fields, f), append(offsets, at)
		at += len(f)
	}
	return fields, offsets
}

// Next is the first due time after a moment. It depends on nothing else.
func (s Schedule) Next(after time.Time) time.Time {
	after = after.UTC()
	if s.every > 0 {
		return after.Add(s.every)
	}
	if s.rule == nil {
		return time.Time{}
	}
	// All times on the wall that can be due soon after, until none that
	// follows can come before the best.
	var best time.Time
	for wall := s.rule.Next(wallOf(after, s.zone).Add(-maxShift - time.Second)); !wall.IsZero(); wall = s.rule.Next(wall) {
		if !best.IsZero() && wall.After(wallOf(best, s.zone).Add(maxShift)) {
			break
		}
		for _, at := range s.instants(wall) {
			if at.After(after) && (best.IsZero() || at.Before(best)) {
				best = at
			}
		}
	}
	return best
}

// Last is the latest due time that is after a moment and not after now; false
// where there is none. However many were missed, it is one.
func (s Schedule) Last(after, now time.Time) (time.Time, bool) {
	if s.every > 0 {
		n := now.Sub(after) / s.every
		return after.UTC().Add(n * s.every), n > 0
	}
	const day = 24 * time.Hour
	// From near to far, so that a long absence costs no walk through all of it.
	for _, window := range []time.Duration{time.Hour, day, 8 * day, 32 * day, 367 * day, 5 * 366 * day} {
		from := after
		if early := now.Add(-window); early.After(from) {
			from = early
		}
		var last time.Time
		for at := s.Next(from); !at.IsZero() && !at.After(now); at = s.Next(at) {
			last = at
		}
		if !last.IsZero() || from.Equal(after) {
			return last, !last.IsZero()
		}
	}
	return time.Time{}, false
}

// wallOf is what the clock on the wall shows, written as if it were UTC.
func wallOf(at time.Time, zone *time.Location) time.Time {
	t := at.In(zone)
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.UTC)
}

// instants are the moments at which a time on the wall is due.
func (s Schedule) instants(wall time.Time) []time.Time {
	offset := func(at time.Time) time.Duration {
		_, seconds := at.In(s.zone).Zone()
		return time.Duration(seconds) * time.Second
	}
	before, after := offset(wall.Add(-24*time.Hour)), offset(wall.Add(24*time.Hour))
	var found []time.Time
	for _, o := range []time.Duration{before, after} {
		at := wall.Add(-o)
		if wallOf(at, s.zone).Equal(wall) && (len(found) == 0 || !found[0].Equal(at)) {
			found = append(found, at)
		}
	}
	switch {
	case len(found) == 0:
		// The clock skipped it: with the old offset it is just after the gap,
		// whose end is where the new offset begins.
		end, _ := wall.Add(-before).In(s.zone).ZoneBounds()
		return []time.Time{end.UTC()}
	case len(found) == 2 && found[1].Before(found[0]):
		found[0], found[1] = found[1], found[0]
	}
	if !s.hourly {
		found = found[:1]
	}
	return found
}
