package state

import "time"

// Foreign is a container of the spec's project that docker compose runs on a
// host.
type Foreign struct {
	// Container is the engine's id, Name its name there.
	Container string `json:"container"`
	Name      string `json:"name"`
	Service   string `json:"service"`
}

// Adoption says that an instance's container was made by another tool. Its
// labels cannot be changed: that it is ours is known from here alone.
type Adoption struct {
	// Name is the container's name.
	Name string `json:"name"`
	// Restart is the restart policy that it had, in the engine's form
	// ("unless-stopped", "on-failure:5"); it is given back with it.
	Restart string `json:"restart,omitempty"`
	// Return says that it is given back as it is instead of being stopped.
	Return bool `json:"return,omitempty"`
}

// IsAdopted says whether another tool has made the instance's container.
func (i Instance) IsAdopted() bool { return i.Adopted.Name != "" }

// RevisionAdopted is the revision of an adopted instance that is to be replaced
// by one of our own. Until then it has that of the definition in force, so that
// nothing replaces it by itself.
const RevisionAdopted = "adopted"

// Takeover is what has been decided of the containers that another tool runs of
// a service.
type Takeover struct {
	Service string        `json:"service"`
	State   TakeoverState `json:"state"`
	Since   time.Time     `json:"since"`
	// Gone are the names of adopted containers that have been stopped and
	// removed since: they cannot be given back.
	Gone []string `json:"gone,omitempty"`
}

// TakeoverState is where a takeover stands.
type TakeoverState string

// The states of a takeover. Nothing new is started of a service that waits or
// was returned.
const (
	// TakeoverWaiting: containers of docker compose were found, and nobody has
	// decided what becomes of them. It ends when they are gone.
	TakeoverWaiting TakeoverState = "waiting"
	// TakeoverIgnored: they are nothing to us.
	TakeoverIgnored TakeoverState = "ignored"
	// TakeoverAdopted: they are instances.
	TakeoverAdopted TakeoverState = "adopted"
	// TakeoverFinishing: they are being replaced by our own.
	TakeoverFinishing TakeoverState = "finishing"
	// TakeoverReturned: they were given back.
	TakeoverReturned TakeoverState = "returned"
)

// EventTakeover tells of what is adopted, given back, or waits for a decision.
const EventTakeover EventKind = "takeover"

// ForeignOf returns what docker compose runs of a service of the spec's project
// and nobody has adopted, as the hosts have seen it last, with the hosts' names.
func (c Cluster) ForeignOf(service string) (hosts []string, all []Foreign) {
	ours := map[string]bool{}
	for i := range c.Instances.Values() {
		if i.IsAdopted() {
			ours[i.Container] = true
		}
	}
	for h := range c.Hosts.Values() {
		if h.Surveyed != c.Spec.Project {
			continue
		}
		for _, f := range h.Foreign {
			if f.Service == service && !ours[f.Container] {
				hosts, all = append(hosts, h.Name), append(all, f)
			}
		}
	}
	return hosts, all
}

// Survey says what docker compose runs on a host of a project. The first one of
// a project may hold services back; see Takeover.
type Survey struct {
	second
	Host    string    `json:"host"`
	Project string    `json:"project"`
	Foreign []Foreign `json:"foreign,omitempty"`
}

// Adopt makes containers that another tool has made instances: all of them, or
// none.
type Adopt struct {
	second
	Containers []Adoptee `json:"containers"`
	By         string    `json:"by"`
}

// Adoptee is a container to be adopted.
type Adoptee struct {
	Service   string `json:"service"`
	Host      string `json:"host"`
	Container string `json:"container"`
	Name      string `json:"name"`
	Restart   string `json:"restart,omitempty"`
	// Address is the "IP:port" that nginx is to use; empty where the service
	// has no ingress.
	Address string `json:"address,omitempty"`
}

// FinishAdoption lets the adopted instances of services be replaced by our own;
// of all where none is named.
type FinishAdoption struct {
	second
	Services []string `json:"services,omitempty"`
	By       string   `json:"by"`
}

// ReturnAdopted gives the adopted containers of services back, as they are; of
// all where none is named. It is refused where some are gone, but for Partly.
type ReturnAdopted struct {
	second
	Services []string `json:"services,omitempty"`
	// Own says that the services' other instances leave too, also later, when
	// the adopted ones are given back already.
	Own    bool   `json:"own,omitempty"`
	Partly bool   `json:"partly,omitempty"`
	By     string `json:"by"`
}

// IgnoreForeign lets services that wait start beside what runs of them; all
// where none is named.
type IgnoreForeign struct {
	second
	Services []string `json:"services,omitempty"`
	By       string   `json:"by"`
}

func (Survey) kind() string         { return "survey" }
func (Adopt) kind() string          { return "adopt" }
func (FinishAdoption) kind() string { return "finish_adoption" }
func (ReturnAdopted) kind() string  { return "return_adopted" }
func (IgnoreForeign) kind() string  { return "ignore_foreign" }

// Candidate is a container that might be adopted, as its host sees it. It is in
// answers, and never in the state.
type Candidate struct {
	Adoptee
	Image string `json:"image"`
	// Differences are what is not as the file says, in words.
	Differences []string `json:"differences,omitempty"`
	// Sick is what its health check says; empty where it answers, or where
	// nothing can be asked.
	Sick string `json:"sick,omitempty"`
	// Cannot is why it cannot be adopted; empty where it can.
	Cannot string `json:"cannot,omitempty"`
	// Adopted is the instance that it is already.
	Adopted string `json:"adopted,omitempty"`
}
