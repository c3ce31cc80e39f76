package demo

import (
	"fmt"
	"time"
)

// View is what the demo shows at one moment.
type View struct {
	// Elapsed is since the demo's start.
	Elapsed time.Duration
	// Phase says what the demo does now.
	Phase string
	// Rate is the wanted load, Answered the 2xx answers, both per second.
	Rate, Answered float64
	// Failed and Resets are counts since the start, as in Report; Failed is
	// without Resets.
	Failed, Resets int64
	P50, P99       time.Duration
	// CPU is the mean of the ready backends as a share of their limit; nil
	// where nothing was measured. Below and Above are its band.
	CPU          *float64
	Below, Above float64
	// Replicas.
	Desired, Ready, Starting, Draining int
	// Min and Max are the bounds of Desired; Max is 0 where there are none.
	Min, Max int
	// Decision is the latest one's sentence.
	Decision string
	// Events so far, the newest last; only the last ones need be here.
	Events []Event
	// The course of things, the newest last: answers per second, CPU share,
	// ready replicas.
	Answers, CPUs, Replicas []float64
}

// Event is a line of what happened.
type Event struct {
	// Seq grows from event to event.
	Seq uint64
	// At is since the demo's start.
	At   time.Duration
	Text string
}

// Sizes of the live view.
const (
	label    = 10
	value    = 14
	history  = 40
	minWidth = 40
	// maxDecision is how many lines a decision may take.
	maxDecision = 3
)

// Render returns the view as lines for a terminal of that size. No line is
// longer than width, and there are at most height of them: the oldest events
// go first. Each rune is taken to be one column wide.
func (v View) Render(width, height int) []string {
	width = max(width, minWidth)
	lines := []string{
		fmt.Sprintf("supervisord demo  %s  %s", clock(v.Elapsed), v.Phase),
		row(width, "load", fmt.Sprintf("%.0f req/s", v.Answered), v.Answers, 0, fmt.Sprintf("of %.0f wanted", v.Rate)),
		row(width, "cpu", v.cpu(), v.CPUs, 1, v.band()),
		row(width, "replicas", fmt.Sprintf("%d of %d", v.Ready, v.Desired), v.Replicas, 0,
			fmt.Sprintf("%d starting, %d draining%s", v.Starting, v.Draining, v.bounds())),
		pad("requests", label) + fmt.Sprintf("p50 %s  p99 %s  failed %d  keep-alive resets %d", millis(v.P50), millis(v.P99), v.Failed, v.Resets),
	}
	for n, part := range wrap(plainText(v.Decision), width-label, maxDecision) {
		name := ""
		if n == 0 {
			name = "decision"
		}
		lines = append(lines, pad(name, label)+part)
	}
	lines = append(lines, "events")
	room := max(height-len(lines), 0)
	for _, e := range v.Events[max(len(v.Events)-room, 0):] {
		lines = append(lines, fmt.Sprintf("  %s  %s", clockTenths(e.At), e.Text))
	}
	lines = lines[:min(len(lines), max(height, 0))]
	for n, l := range lines {
		lines[n] = fit(plainText(l), width)
	}
	return lines
}

// row is a name, a figure, its course and a remark.
func row(width int, name, figure string, course []float64, top float64, remark string) string {
	room := min((width-label-value)/3, history)
	return pad(name, label) + pad(figure, value) + pad(spark(course, room, top), room) + "  " + remark
}

// Line returns the view as one line, for a log.
func (v View) Line() string {
	return fmt.Sprintf("%s  load %.0f of %.0f req/s  cpu %s  replicas %d of %d (starting %d, draining %d)  p99 %s  failed %d  resets %d",
		clock(v.Elapsed), v.Answered, v.Rate, v.cpu(), v.Ready, v.Desired, v.Starting, v.Draining, millis(v.P99), v.Failed, v.Resets)
}

func (v View) cpu() string {
	if v.CPU == nil {
		return "–"
	}
	return fmt.Sprintf("%.0f %%", 100**v.CPU)
}

func (v View) bounds() string {
	if v.Max == 0 {
		return ""
	}
	return fmt.Sprintf("; bounds %d–%d", v.Min, v.Max)
}

func (v View) band() string {
	if v.Above == 0 {
		return "of its limit"
	}
	return fmt.Sprintf("of its limit, band %.0f–%.0f %%", 100*v.Below, 100*v.Above)
}
