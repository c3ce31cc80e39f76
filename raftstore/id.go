package raftstore

import (
	"fmt"
	"os"
	"path/filepath"
)

// ServerID returns the id of the server whose data is in a directory, and
// makes one where there is none yet. Open takes the same.
func ServerID(dir string) (string, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("server id: %w", err)
	}
	id, err := serverID(filepath.Join(dir, idFile), "")
	if err != nil {
		return "", fmt.Errorf("server id: %w", err)
	}
	return id, nil
}

// HasState says whether a directory holds the log of a server.
func HasState(dir string) (bool, error) {
	entries, err := os.ReadDir(filepath.Join(dir, logDir))
	if os.IsNotExist(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for a log: %w", err)
	}
	return len(entries) > 0, nil
}
