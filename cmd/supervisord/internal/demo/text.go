package demo

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// spark draws the last width values as bars. The highest bar is top, or the
// highest value where that is more.
func spark(values []float64, width int, top float64) string {
	bars := []rune("▁▂▃▄▅▆▇█")
	values = values[max(len(values)-width, 0):]
	for _, v := range values {
		top = max(top, v)
	}
	var b strings.Builder
	for _, v := range values {
		n := 0
		if top > 0 && v > 0 {
			n = int(v / top * float64(len(bars)-1))
		}
		b.WriteRune(bars[n])
	}
	return b.String()
}

// pad fills up with spaces.
func pad(s string, width int) string {
	return s + strings.Repeat(" ", max(width-len([]rune(s)), 0))
}

// fit cuts off what is too long, and shows that it did.
func fit(s string, width int) string {
	s = strings.TrimRight(s, " ")
	r := []rune(s)
	if len(r) <= width {
		return s
	}
	return string(r[:max(width-1, 0)]) + "…"
}

// wrap breaks a text at its spaces into at most most lines; what is left over
// makes the last one too long.
func wrap(s string, width, most int) []string {
	lines := []string{""}
	for _, word := range strings.Fields(s) {
		last := &lines[len(lines)-1]
		switch {
		case *last == "":
			*last = word
		case len([]rune(*last))+1+len([]rune(word)) <= width || len(lines) == most:
			*last += " " + word
		default:
			lines = append(lines, word)
		}
	}
	return lines
}

// plainText keeps a text from others on its line and out of the terminal's
// commands.
func plainText(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) {
			return ' '
		}
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, s)
}

// clock writes 83 s as 1:23.
func clock(d time.Duration) string {
	s := int(d / time.Second)
	return fmt.Sprintf("%d:%02d", s/60, s%60)
}

// clockTenths writes 83.46 s as 1:23.4.
func clockTenths(d time.Duration) string {
	return fmt.Sprintf("%s.%d", clock(d), d%time.Second/(100*time.Millisecond))
}

// millis writes a latency with as many digits as it is worth.
func millis(d time.Duration) string {
	ms := float64(d) / float64(time.Millisecond)
	switch {
	case d == 0:
		return "–"
	case ms < 10:
		return fmt.Sprintf("%.1f ms", ms)
	case ms < 1000:
		return fmt.Sprintf("%.0f ms", ms)
	}
	return fmt.Sprintf("%.1f s", ms/1000)
}

// grouped writes 12345 as 12,345.
func grouped(n int64) string {
	s := strconv.FormatInt(n, 10)
	for at := len(s) - 3; at > 0 && s[at-1] != '-'; at -= 3 {
		s = s[:at] + "," + s[at:]
	}
	return s
}
