package compose

import (
	"bytes"
	"errors"
	"fmt"

	"go.yaml.in/yaml/v4"
)

// ErrCannotEdit says that a file is written in a way in which a value cannot be
// replaced without changing other things.
var ErrCannotEdit = errors.New("cannot be replaced")

// SetImage replaces the image of a service in the text of a compose file, and
// nothing else: comments and the form stay. The error is an *Error or
// ErrCannotEdit.
func SetImage(file string, data []byte, service, image string) ([]byte, error) {
	at := place{"services", service, "image"}
	if !imagePattern.MatchString(image) {
		return nil, fmt.Errorf("%w: %q is not the name of an image such as acme/backend:1.4", ErrCannotEdit, image)
	}
	root, problem := decode(file, data)
	if problem != nil {
		return nil, problem
	}
	node := root
	for _, key := range at {
		if node = field(node, key); node == nil {
			return nil, fmt.Errorf("%w: %s has no %s", ErrCannotEdit, file, at)
		}
	}
	begin := offset(data, node.Line, node.Column)
	written := node.Value
	switch node.Style &^ yaml.TaggedStyle {
	case yaml.DoubleQuotedStyle:
		written = `"` + written + `"`
	case yaml.SingleQuotedStyle:
		written = "'" + written + "'"
	}
	if node.Kind != yaml.ScalarNode || node.Anchor != "" || !bytes.HasPrefix(data[begin:], []byte(written)) {
		return nil, fmt.Errorf("%w: %s:%d:%d: %s: want the image on one line, in plain form", ErrCannotEdit, file, node.Line, node.Column, at)
	}
	return append(append(append([]byte{}, data[:begin]...), image...), data[begin+len(written):]...), nil
}

// field is the value of a mapping's key.
func field(node *yaml.Node, key string) *yaml.Node {
	if node.Kind == yaml.DocumentNode && len(node.Content) == 1 {
		node = node.Content[0]
	}
	if node.Kind != yaml.MappingNode {
		return nil
	}
	for n := 0; n+1 < len(node.Content); n += 2 {
		if node.Content[n].Value == key {
			return node.Content[n+1]
		}
	}
	return nil
}

// offset is where a line and column, from 1, are in a text. Columns count
// characters.
func offset(data []byte, line, column int) int {
	at := 0
	for range line - 1 {
		next := bytes.IndexByte(data[at:], '\n')
		if next < 0 {
			return len(data)
		}
		at += next + 1
	}
	for range column - 1 {
		if at >= len(data) {
			return len(data)
		}
		at++
		for at < len(data) && data[at]&0xc0 == 0x80 {
			at++
		}
	}
	return at
}
