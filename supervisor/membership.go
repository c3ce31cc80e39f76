package supervisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/renameio/v2"

	"github.com/supervisord/supervisord/supervisor/state"
)

// membership is what a host knows of its cluster without the log, because it
// needs it before the log tells: init and join write it, and the daemon.
type membership struct {
	// Cluster is the cluster's id; "" until the first host has made it.
	Cluster string `json:"cluster,omitempty"`
	Host    string `json:"host"`
	// Address is where this host's instances are published.
	Address string `json:"address"`
	// Advertise is the "IP:port" that the other hosts reach this one at.
	Advertise string `json:"advertise"`
	// Peers are hosts of the cluster that this one can enter through; empty on
	// the first one.
	Peers []string `json:"peers,omitempty"`
	// Opening is what the first host has yet to commit.
	Opening *opening `json:"opening,omitempty"`
}

// opening are the first commands of a cluster that others can join.
type opening struct {
	Cert  string         `json:"cert"`
	Key   string         `json:"key"`
	Token state.AddToken `json:"token"`
}

const (
	membershipFile = "membership.json"
	identityDir    = "tls"
)

// readMembership returns nil where the host is in no cluster that others can
// join.
func readMembership(stateDir string) (*membership, error) {
	path := filepath.Join(stateDir, membershipFile)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("membership: %w", err)
	}
	var m membership
	if err := json.Unmarshal(data, &m); err != nil {
		return nil, fmt.Errorf("membership: %s: %w", path, err)
	}
	return &m, nil
}

// first says whether this host begins its cluster.
func (m *membership) first() bool { return m == nil || len(m.Peers) == 0 }

func (m membership) write(stateDir string) error {
	data, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return fmt.Errorf("membership: %w", err)
	}
	if err := os.MkdirAll(stateDir, 0o700); err != nil {
		return fmt.Errorf("membership: %w", err)
	}
	if err := renameio.WriteFile(filepath.Join(stateDir, membershipFile), append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("membership: %w", err)
	}
	return nil
}

func identityPath(stateDir string) string { return filepath.Join(stateDir, identityDir) }
