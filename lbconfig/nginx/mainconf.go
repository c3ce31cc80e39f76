package nginx

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// mainConf is nginx's main file, which belongs to the operator.
type mainConf struct {
	file string
	root string // of the store
}

// copyFile is beside the main file, so that what it includes by relative paths
// is found; its name matches no "*.conf", nor any "*".
func (m mainConf) copyFile() string {
	return filepath.Join(filepath.Dir(m.file), "."+filepath.Base(m.file)+".supervisord-test")
}

// writeCopy writes a copy of the main file that includes a directory instead of
// the current generation.
func (m mainConf) writeCopy(dir string) error {
	text, err := os.ReadFile(m.file)
	if err != nil {
		return fmt.Errorf("reading nginx's main file: %w", err)
	}
	include := m.include()
	if !include.Match(text) {
		return fmt.Errorf("%w: add the line \"include %s/*.conf;\" to the http block of %s",
			ErrNoInclude, filepath.Join(m.root, currentLink), m.file)
	}
	text = include.ReplaceAllFunc(text, func(found []byte) []byte {
		start := include.FindSubmatch(found)[1]
		return append(append([]byte{}, start...), dir+"/"...)
	})
	if err := os.WriteFile(m.copyFile(), text, 0o600); err != nil {
		return fmt.Errorf("writing a copy of nginx's main file for a test: %w", err)
	}
	return nil
}

// removeCopy removes the copy, if there is one.
func (m mainConf) removeCopy() error {
	if err := os.Remove(m.copyFile()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing the copy of nginx's main file: %w", err)
	}
	return nil
}

// include matches the start of the line that includes the current generation,
// by its path or relative to the main file, where it is not a comment.
func (m mainConf) include() *regexp.Regexp {
	paths := []string{regexp.QuoteMeta(m.root)}
	if rel, err := filepath.Rel(filepath.Dir(m.file), m.root); err == nil {
		paths = append(paths, regexp.QuoteMeta(rel))
	}
	return regexp.MustCompile(`(?m)(^(?:[^#\n]*[\s;{])?include\s+["']?)(?:` + strings.Join(paths, "|") + `)/+` + currentLink + `/+`)
}
