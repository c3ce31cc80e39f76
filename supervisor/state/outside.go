package state

import (
	"maps"
	"slices"
)

// Login says how the hosts come to a database outside. What is secret is in a
// file on them, and never read into the state.
type Login struct {
	// User is the account, empty where the engine has a nameless one.
	User string `json:"user,omitempty"`
	// Credentials is the path of a file in the form of the engine's own tools.
	Credentials string `json:"credentials,omitempty"`
	// Host is the one that takes the backups; empty for the first by name that
	// can.
	Host string `json:"host,omitempty"`
	// Image is that of the containers for drills; empty where there are none.
	Image string `json:"image,omitempty"`
}

// BackupOf is how a database is backed up, a service's or one outside; nil where
// it is not. The two share one space of names.
func (s Spec) BackupOf(name string) *Backup {
	if b := s.Services[name].Backup; b != nil {
		return b
	}
	db, _ := s.OutsideOf(name)
	return db.Backup
}

// OutsideOf returns a database outside that is backed up.
func (s Spec) OutsideOf(name string) (Database, bool) {
	if s.Services[name].Backup != nil {
		return Database{}, false
	}
	for _, db := range s.Databases {
		if db.Name == name && db.Backup != nil {
			return db, true
		}
	}
	return Database{}, false
}

// BackedUp are the names of what is backed up, sorted.
func (s Spec) BackedUp() []string {
	names := map[string]bool{}
	for name, service := range s.Services {
		names[name] = service.Backup != nil
	}
	for _, db := range s.Databases {
		names[db.Name] = names[db.Name] || db.Backup != nil
	}
	maps.DeleteFunc(names, func(_ string, backedUp bool) bool { return !backedUp })
	return slices.Sorted(maps.Keys(names))
}
