package supervisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"
)

// specFile is the compose file of this host, and what is remembered of it.
type specFile interface {
	// Read returns the file's text; fs.ErrNotExist where there is none.
	Read() (string, error)
	// Write replaces the text.
	Write(text string) error
	// Aside saves a text beside the file and returns where.
	Aside(text string, at time.Time) (path string, err error)
	// Synced returns what Sync kept last; the zero value before the first.
	Synced() (synced, error)
	// Sync keeps what the file was last in step with.
	Sync(synced) error
}

// synced is the spec of the cluster that a host's file was last in step with.
type synced struct {
	// Revision is the spec's; an edit is made from it.
	Revision uint64 `json:"revision"`
	// Text is the file's.
	Text string `json:"text"`
	// Hash is of the spec as this host reads it, with its own variables and
	// env files; "" where it has not been read since it was written.
	Hash string `json:"hash,omitempty"`
}

// diskFile is a specFile on the disk. What is remembered of it is in the state
// directory.
type diskFile struct {
	path   string
	memory string
}

const memoryFile = "compose.json"

func newSpecFile(config, stateDir string) diskFile {
	return diskFile{path: config, memory: filepath.Join(stateDir, memoryFile)}
}

// Read implements specFile.
func (f diskFile) Read() (string, error) {
	data, err := os.ReadFile(f.path)
	return string(data), err
}

// Write implements specFile. A link stays, and what it points to is replaced;
// so stays the mode of the file.
func (f diskFile) Write(text string) error {
	path, err := filepath.EvalSymlinks(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		path, err = f.path, os.MkdirAll(filepath.Dir(f.path), 0o755)
	}
	if err != nil {
		return fmt.Errorf("write the compose file: %w", err)
	}
	if err := renameio.WriteFile(path, []byte(text), f.mode(path)); err != nil {
		return fmt.Errorf("write the compose file: %w", err)
	}
	return nil
}

// mode is a file's; one that is new is for its owner alone, since it may hold
// passwords.
func (f diskFile) mode(path string) fs.FileMode {
	if info, err := os.Stat(path); err == nil {
		return info.Mode().Perm()
	}
	return 0o600
}

// Aside implements specFile. The name has the time in UTC to the millisecond,
// and does not end like a compose file.
func (f diskFile) Aside(text string, at time.Time) (string, error) {
	path := f.path + ".conflict-" + at.UTC().Format("20060102T150405.000Z")
	if err := renameio.WriteFile(path, []byte(text), f.mode(f.path)); err != nil {
		return "", fmt.Errorf("save the edit beside the compose file: %w", err)
	}
	return path, nil
}

// Synced implements specFile.
func (f diskFile) Synced() (s synced, err error) {
	data, err := os.ReadFile(f.memory)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, fmt.Errorf("read what the compose file was in step with: %w", err)
	}
	if err := json.Unmarshal(data, &s); err != nil {
		return s, fmt.Errorf("read what the compose file was in step with: %s: %w", f.memory, err)
	}
	return s, nil
}

// Sync implements specFile.
func (f diskFile) Sync(s synced) error {
	data, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if err := renameio.WriteFile(f.memory, data, 0o600); err != nil {
		return fmt.Errorf("remember what the compose file is in step with: %w", err)
	}
	return nil
}
