package state

// Sealed is what only hosts with the cluster's key can read. The key is no part
// of the state: it is in a file of each host.
type Sealed struct {
	// Key is the id of the key, Data the sealed text.
	Key  string `json:"key"`
	Data []byte `json:"data"`
}

// String keeps even the sealed text out of logs.
func (s Sealed) String() string {
	if s.Key == "" {
		return "nothing"
	}
	return "sealed " + redacted
}

// GoString is String.
func (s Sealed) GoString() string { return s.String() }

// SetSealKey says which key seals from now on. It is refused where the one in
// force is not Before, so that of two that are made at once one counts.
type SetSealKey struct {
	second
	ID     string `json:"id"`
	Before string `json:"before,omitempty"`
}

func (SetSealKey) kind() string { return "set_seal_key" }

func (cmd SetSealKey) apply(ch *change) error {
	switch {
	case cmd.ID == "":
		return refuse("a key has an id")
	case ch.SealKey != cmd.Before:
		return refuse("key %s seals", ch.SealKey)
	}
	ch.SealKey = cmd.ID
	return nil
}
