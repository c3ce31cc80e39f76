package lbconfig

import "time"

// CommonFile is the name of the file that all sites need. It sorts before
// theirs, because they use what it declares.
const CommonFile = "00-supervisord.conf"

// File is one rendered file, to be included inside nginx's http block.
type File struct {
	// Name has no directory.
	Name string
	Data []byte
	// Service is the site that the file is for, "" for the common file.
	Service string
}

// SiteFile is the name of the file of a service's site.
func SiteFile(service string) string { return "site-" + service + ".conf" }

// Outcome is what came of putting a Config in force.
type Outcome struct {
	// Generation is the number that nginx answers with now. It differs from
	// the Config's where nothing had to change, and where that number was in
	// use already; to confirm a Config, remember which one was applied.
	Generation uint64
	// Changed says whether nginx had to reload.
	Changed bool
	// Rejected are the sites that do not serve what the Config says, with the
	// reason. Each goes on with its last good file; one that has none is not
	// served.
	Rejected map[string]string
	// Answered is the time from the call until the new generation was first
	// seen to answer: added servers get traffic. Settled is the time until
	// only the new generation accepts connections: removed servers get no new
	// request. Both are 0 where Changed is false.
	Answered, Settled time.Duration
}
