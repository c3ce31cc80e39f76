package compose

import (
	"bytes"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// decode reads the one YAML document of a file into nodes.
func decode(file string, data []byte) (*yaml.Node, *Error) {
	if e := readable(file, data); e != nil {
		return nil, e
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	err := guard(func() error { return dec.Decode(&doc) })
	if errors.Is(err, io.EOF) || (err == nil && len(doc.Content) == 0) {
		return nil, &Error{File: file, Line: 1, Col: 1, Problem: "the file is empty", Want: "services"}
	}
	if err != nil {
		return nil, syntaxError(file, data, err)
	}
	var second yaml.Node
	switch err := guard(func() error { return dec.Decode(&second) }); {
	case err == nil:
		return nil, &Error{File: file, Line: min(max(second.Line, 1), bytes.Count(data, []byte("\n"))+1), Col: max(second.Column, 1),
			Problem: "a second YAML document begins here", Want: "one document"}
	case !errors.Is(err, io.EOF):
		return nil, syntaxError(file, data, err)
	}
	return doc.Content[0], nil
}

// readable finds bytes that no YAML file may contain; the parser names them
// only by their offset.
func readable(file string, data []byte) *Error {
	line, col := 1, 1
	for i := 0; i < len(data); {
		c, size := utf8.DecodeRune(data[i:])
		switch {
		case c == utf8.RuneError && size == 1:
			return &Error{File: file, Line: line, Col: col, Problem: "not UTF-8", Want: "a text file in UTF-8"}
		case c < ' ' && c != '\t' && c != '\n' && c != '\r', c == 0x7f:
			return &Error{File: file, Line: line, Col: col,
				Problem: "control character " + strconv.QuoteRune(c), Want: "a text file"}
		}
		if col++; c == '\n' {
			line, col = line+1, 1
		}
		i += size
	}
	return nil
}

var (
	markPattern  = regexp.MustCompile(`line (\d+)(?:, column (\d+))?`)
	leadPattern  = regexp.MustCompile(`^(?:while [a-z ]+ at (?:line \d+(?:, column \d+)?|<unknown position>): )?(?:(?:line \d+(?:, column \d+)?|<unknown position>|offset \d+): )?`)
	parseProblem = regexp.MustCompile(`did not find|found incompatible|found duplicate %|found undefined tag`)
)

// syntaxError takes the place out of the parser's message. The parser counts
// lines from 0 in what it says of the grammar and from 1 in what it says of
// the characters; of the two places it may give, the last is the problem's.
func syntaxError(file string, data []byte, err error) *Error {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	e := &Error{File: file, Line: 1, Col: 1, Problem: "invalid YAML"}
	lead := leadPattern.FindString(text)
	if marks := markPattern.FindAllStringSubmatch(lead, -1); len(marks) > 0 {
		last := marks[len(marks)-1]
		e.Line, _ = strconv.Atoi(last[1])
		if col, err := strconv.Atoi(last[2]); err == nil {
			e.Col = col
		}
	}
	if parseProblem.MatchString(text) && lead != "" {
		e.Line = grammarLine(lead)
	}
	e.Line = min(max(e.Line, 1), bytes.Count(data, []byte("\n"))+1)
	if rest := clean(text[len(lead):]); rest != "" {
		e.Problem += ": " + rest
	}
	return e
}

// grammarLine is the line of the last place in lead, counted from 1.
func grammarLine(lead string) int {
	if strings.HasSuffix(lead, "<unknown position>: ") {
		return 1
	}
	marks := markPattern.FindAllStringSubmatch(lead, -1)
	if len(marks) == 0 {
		return 1
	}
	n, err := strconv.Atoi(marks[len(marks)-1][1])
	if err != nil {
		return 1
	}
	return n + 1
}
