package demo

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

// ScreenOptions say what the Screen is.
type ScreenOptions struct {
	// Terminal asks for redrawing in place; Size returns its columns and rows.
	Terminal bool
	Size     func() (width, height int)
	// Every is how often a line is written where there is no terminal; 2 s by
	// default. Events are written at once.
	Every time.Duration
}

// ScreenOf returns the options for a file that may be a terminal.
func ScreenOf(f *os.File) ScreenOptions {
	fd := int(f.Fd())
	return ScreenOptions{
		Terminal: term.IsTerminal(fd),
		Size: func() (int, int) {
			width, height, err := term.GetSize(fd)
			if err != nil || width <= 0 || height <= 0 {
				return 80, 24
			}
			return width, height
		},
	}
}

// Screen shows Views, one after the other. It is not safe for concurrent use.
type Screen struct {
	w       io.Writer
	options ScreenOptions
	// drawn is how many lines of the last view stand on the terminal.
	drawn int
	// shown is the last event that was written as a line; next is when the
	// next line of figures is due.
	shown uint64
	next  time.Duration
}

// Sequences of ECMA-48, which each terminal knows.
const (
	hideCursor  = "\x1b[?25l"
	showCursor  = "\x1b[?25h"
	clearToEOL  = "\x1b[K"
	clearBelow  = "\x1b[J"
	cursorUpFmt = "\x1b[%dA"
)

// NewScreen returns a Screen that has written nothing.
func NewScreen(w io.Writer, o ScreenOptions) *Screen {
	if o.Every <= 0 {
		o.Every = 2 * time.Second
	}
	return &Screen{w: w, options: o}
}

// Show replaces the last view on a terminal. Elsewhere it writes the events
// that are new, and a line of figures when one is due.
func (s *Screen) Show(v View) error {
	var b strings.Builder
	if s.options.Terminal {
		s.redraw(&b, v)
	} else {
		s.append(&b, v)
	}
	if b.Len() == 0 {
		return nil
	}
	_, err := io.WriteString(s.w, b.String())
	return err
}

// Close leaves the last view where it is and the terminal as it was.
func (s *Screen) Close() error {
	if s.drawn == 0 {
		return nil
	}
	s.drawn = 0
	_, err := io.WriteString(s.w, showCursor)
	return err
}

func (s *Screen) redraw(b *strings.Builder, v View) {
	width, height := s.options.Size()
	// The last column stays free, where some terminals wrap already; the last
	// row too, because each line ends with a new one.
	lines := v.Render(width-1, height-1)
	b.WriteString(hideCursor)
	if up := min(s.drawn, max(height-1, 0)); up > 0 {
		fmt.Fprintf(b, cursorUpFmt, up)
	}
	b.WriteString("\r")
	for _, l := range lines {
		b.WriteString(l + clearToEOL + "\n")
	}
	b.WriteString(clearBelow)
	s.drawn = len(lines)
}

func (s *Screen) append(b *strings.Builder, v View) {
	for _, e := range v.Events {
		if e.Seq > s.shown {
			s.shown = e.Seq
			fmt.Fprintf(b, "%s  * %s\n", clockTenths(e.At), plainText(e.Text))
		}
	}
	if v.Elapsed < s.next {
		return
	}
	s.next = v.Elapsed + s.options.Every
	b.WriteString(plainText(v.Line()) + "\n")
	if v.Decision != "" {
		fmt.Fprintf(b, "      %s\n", plainText(v.Decision))
	}
}
