package state

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
)

// WriteTo writes the snapshot's form of the cluster: equal clusters give
// equal bytes.
func (c Cluster) WriteTo(w io.Writer) (int64, error) {
	data, err := json.Marshal(c)
	if err != nil {
		return 0, fmt.Errorf("write snapshot: %w", err)
	}
	n, err := io.Copy(w, bytes.NewReader(data))
	if err != nil {
		return n, fmt.Errorf("write snapshot: %w", err)
	}
	return n, nil
}

// Read reads what WriteTo wrote.
func Read(r io.Reader) (Cluster, error) {
	var c Cluster
	if err := json.NewDecoder(r).Decode(&c); err != nil {
		return Cluster{}, fmt.Errorf("read snapshot: %w", err)
	}
	if c.Schema > SchemaVersion || c.Schema < 1 {
		return Cluster{}, fmt.Errorf("read snapshot: schema %d, this daemon knows 1 to %d", c.Schema, SchemaVersion)
	}
	return c, nil
}
