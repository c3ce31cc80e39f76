package compose

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"github.com/supervisord/supervisord/supervisor/state"
)

// serviceHash identifies what an instance is created from: its container and
// the port that is published for the load balancer. How many there are and how
// they are reached from outside is not part of it.
func serviceHash(s state.Service) (string, error) {
	part := struct {
		Container state.Container `json:"container"`
		Port      int             `json:"port"`
	}{Container: s.Container}
	if s.Ingress != nil {
		part.Port = s.Ingress.Port
	}
	return digest(part)
}

// specHash identifies all of a spec but its revision and how it is written.
func specHash(s state.Spec) (string, error) {
	s.Revision, s.Hash, s.Source = 0, "", ""
	return digest(s)
}

// digest is the first half of the SHA-256 of the value's JSON, which has its
// keys in a fixed order; 32 hex digits.
func digest(v any) (string, error) {
	data, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("hash spec: %w", err)
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:16]), nil
}
