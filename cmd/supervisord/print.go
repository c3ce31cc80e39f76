package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/term"
)

// printJSON prints a value for machines.
func printJSON(w io.Writer, value any) error {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}

// style is the colour of a cell on a terminal.
type style string

const (
	plain style = ""
	good  style = "32"
	warn  style = "33"
	bad   style = "31"
	faint style = "2"
)

// screen prints for people. Colour and cutting to the width are for terminals
// only, so that what a pipe gets is stable and whole.
type screen struct {
	w      io.Writer
	colour bool
	// width is in columns; 0 cuts nothing.
	width int
}

func (e env) screen() screen {
	s := screen{w: e.out}
	f, ok := e.out.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return s
	}
	_, never := e.lookup("NO_COLOR")
	kind, _ := e.lookup("TERM")
	s.colour = !never && kind != "dumb"
	if width, _, err := term.GetSize(int(f.Fd())); err == nil {
		s.width = width
	}
	return s
}

func (s screen) paint(text string, as style) string {
	if !s.colour || as == plain || text == "" {
		return text
	}
	return "\x1b[" + string(as) + "m" + text + "\x1b[0m"
}

func (s screen) printf(format string, args ...any) { fmt.Fprintf(s.w, format, args...) }

// cell is one field of a table.
type cell struct {
	text string
	as   style
}

func cells(texts ...string) []cell {
	row := make([]cell, len(texts))
	for i, t := range texts {
		row[i] = cell{text: t}
	}
	return row
}

// table prints rows in aligned columns; the last column may be cut.
func (s screen) table(rows [][]cell) {
	var widths []int
	for _, row := range rows {
		for i, c := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(c.text))
		}
	}
	for _, row := range rows {
		s.printf("%s\n", s.row(row, widths))
	}
}

const between = "  "

func (s screen) row(row []cell, widths []int) string {
	// Trailing empty fields leave no spaces.
	for len(row) > 1 && row[len(row)-1].text == "" {
		row = row[:len(row)-1]
	}
	var b strings.Builder
	at := 0
	for i, c := range row {
		if i > 0 {
			b.WriteString(between)
			at += len(between)
		}
		text := c.text
		if last := i == len(row)-1; last {
			text = s.cut(text, at)
		}
		b.WriteString(s.paint(text, c.as))
		if i < len(row)-1 {
			b.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c.text)))
		}
		at += widths[i]
	}
	return b.String()
}

// cut shortens a text that begins in a column to the screen's width.
func (s screen) cut(text string, column int) string {
	room := s.width - column
	if s.width == 0 || room < 8 || utf8.RuneCountInString(text) <= room {
		return text
	}
	return string([]rune(text)[:room-1]) + "…"
}

// percent is a share for people.
func percent(share float64) string { return strconv.FormatFloat(100*share, 'f', 0, 64) + " %" }

func percentOf(share *float64) string {
	if share == nil {
		return "–"
	}
	return percent(*share)
}

// age is a duration in its two largest units.
func age(d time.Duration) string {
	s := int(max(d, 0).Seconds())
	switch {
	case s < 60:
		return fmt.Sprintf("%ds", s)
	case s < 60*60:
		return fmt.Sprintf("%dm%ds", s/60, s%60)
	case s < 24*60*60:
		return fmt.Sprintf("%dh%dm", s/3600, s%3600/60)
	}
	return fmt.Sprintf("%dd%dh", s/86400, s%86400/3600)
}

// stamp is a time for people who compare logs: UTC to the second.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func orDash(text string) string {
	if text == "" {
		return "–"
	}
	return text
}
