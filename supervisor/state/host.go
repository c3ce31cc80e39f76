package state

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Host is one machine of the cluster, by name.
type Host struct {
	Name string `json:"name"`
	// Server is the host's id in the log's cluster: it is made once, and a
	// machine that comes with another one under this name is a stranger.
	Server string `json:"server,omitempty"`
	// Peer is the "IP:port" that the other hosts reach its daemon at; empty in
	// a cluster of one that no host can join.
	Peer string `json:"peer,omitempty"`
	// Address is where the instances of this host are published.
	Address string `json:"address"`
	// CPUs are cores, Memory is in bytes.
	CPUs   float64 `json:"cpus"`
	Memory int64   `json:"memory"`
	// Labels are what placement constraints ask for.
	Labels  map[string]string `json:"labels,omitempty"`
	Version string            `json:"version"`
	// Format is the Format of its daemon; 0 for 1.
	Format int `json:"format,omitempty"`
	// Lost is since when the leader takes the host for dead; zero while it has
	// contact.
	Lost time.Time `json:"lost,omitzero"`
	// Draining hosts get no new instances, and those that can move leave.
	Draining bool `json:"draining,omitempty"`
	// Routes is the index up to which this host's nginx is known to serve
	// the state: no request goes to an instance that drained before it.
	Routes uint64 `json:"routes"`
	// Sites that nginx refused keep their last good form; the reason by
	// service.
	RejectedSites map[string]string `json:"rejected_sites,omitempty"`
	// SpecError is why this host's compose file is not in force; empty when
	// it is.
	SpecError string `json:"spec_error,omitempty"`
	// Surveys says that this host's daemon tells what docker compose runs on
	// it, Surveyed of which project it last did, and Foreign what that was.
	Surveys  bool      `json:"surveys,omitempty"`
	Surveyed string    `json:"surveyed,omitempty"`
	Foreign  []Foreign `json:"foreign,omitempty"`
}

// IsLost says whether the leader has given the host up.
func (h Host) IsLost() bool { return !h.Lost.IsZero() }

// Home is the host that holds the data of a stateful service. It outlives the
// instance, and the service's entry in the file: data that is there today is
// there when the entry comes back.
type Home struct {
	Service string `json:"service"`
	Host    string `json:"host"`
}

// HomeOf is the host that holds the data of a service; "" where it owns none, or
// has none yet.
func (c Cluster) HomeOf(s Service) string {
	home, _ := c.Homes.Get(s.Name)
	if !s.Stateful {
		return ""
	}
	return home.Host
}

// OnHost returns the instances of a host in the order of their ids.
func (c Cluster) OnHost(name string) []Instance {
	var here []Instance
	for i := range c.Instances.Values() {
		if i.Host == name {
			here = append(here, i)
		}
	}
	return here
}

// HostOfServer returns the host with an id in the log's cluster.
func (c Cluster) HostOfServer(server string) (Host, bool) {
	for h := range c.Hosts.Values() {
		if h.Server == server && server != "" {
			return h, true
		}
	}
	return Host{}, false
}

// RegisterHost adds a host or refreshes what is known of its machine.
type RegisterHost struct {
	Name    string            `json:"name"`
	Server  string            `json:"server,omitempty"`
	Peer    string            `json:"peer,omitempty"`
	Address string            `json:"address"`
	CPUs    float64           `json:"cpus"`
	Memory  int64             `json:"memory"`
	Labels  map[string]string `json:"labels,omitempty"`
	Version string            `json:"version"`
	Format  int               `json:"format,omitempty"`
	// Surveys: it will say what docker compose runs on it. No service's first
	// instance is placed before.
	Surveys bool `json:"surveys,omitempty"`
}

// Describes says whether the cluster knows all of it already.
func (cmd RegisterHost) Describes(h Host) bool {
	return h.Name == cmd.Name && h.Server == cmd.Server && h.Peer == cmd.Peer && h.Address == cmd.Address &&
		h.CPUs == cmd.CPUs && h.Memory == cmd.Memory && h.Version == cmd.Version && h.Format == cmd.Format && h.Surveys == cmd.Surveys && maps.Equal(h.Labels, cmd.Labels)
}

// LoseHost says that the leader has had no contact with a host for too long.
// Its instances that own no data have failed: others take their place. Those
// that own data stay its own: there must never be two of them.
type LoseHost struct {
	Name string `json:"name"`
	Why  string `json:"why"`
}

// FindHost says that a lost host is back.
type FindHost struct {
	Name string `json:"name"`
}

// DrainHost takes a host out of placement and moves what can move; Off gives
// it back.
type DrainHost struct {
	Name string `json:"name"`
	Off  bool   `json:"off,omitempty"`
}

// RemoveHost takes a host out of the cluster for good. It is refused while the
// host is in contact and has instances, unless Force is set, and while it
// holds data, unless AbandonData is: services whose data is there begin anew,
// empty, elsewhere.
type RemoveHost struct {
	Name        string `json:"name"`
	Force       bool   `json:"force,omitempty"`
	AbandonData bool   `json:"abandon_data,omitempty"`
}

func (RegisterHost) kind() string { return "register_host" }
func (LoseHost) kind() string     { return "lose_host" }
func (FindHost) kind() string     { return "find_host" }
func (DrainHost) kind() string    { return "drain_host" }
func (RemoveHost) kind() string   { return "remove_host" }

func (cmd RegisterHost) apply(ch *change) error {
	h, known := ch.Hosts.Get(cmd.Name)
	if _, denied := ch.Denied.Get(cmd.Server); denied && cmd.Server != "" {
		return refuse("server %s was removed from the cluster", cmd.Server)
	}
	if known && h.Server != "" && h.Server != cmd.Server {
		return refuse("there is a host %q already, with another identity; remove it first or choose another name (--host)", cmd.Name)
	}
	if other, ok := ch.HostOfServer(cmd.Server); ok && other.Name != cmd.Name {
		return refuse("this server is known as host %q; a host's name cannot change", other.Name)
	}
	h.Name, h.Server, h.Peer, h.Address = cmd.Name, cmd.Server, cmd.Peer, cmd.Address
	h.CPUs, h.Memory, h.Labels, h.Version, h.Format = cmd.CPUs, cmd.Memory, maps.Clone(cmd.Labels), cmd.Version, cmd.Format
	h.Surveys = cmd.Surveys
	ch.Hosts = ch.Hosts.Put(h.Name, h)
	if !known {
		ch.event(Event{Kind: EventHostJoined, Host: h.Name, Message: "host " + h.Name + " is part of the cluster"})
	}
	return nil
}

func (ch *change) host(name string) (Host, error) {
	h, ok := ch.Hosts.Get(name)
	if !ok {
		return h, refuse("host %q is not part of the cluster", name)
	}
	return h, nil
}

func (cmd LoseHost) apply(ch *change) error {
	h, err := ch.host(cmd.Name)
	if err != nil {
		return err
	}
	if h.IsLost() {
		return refuse("host %s is lost already", h.Name)
	}
	h.Lost = ch.now
	ch.Hosts = ch.Hosts.Put(h.Name, h)
	replaced := 0
	var stay []string
	for _, i := range ch.OnHost(h.Name) {
		switch {
		case !i.Active():
		case ch.ownsData(i.Service):
			stay = append(stay, i.Name)
		default:
			ch.enter(i, Failed, "its host "+h.Name+" is lost")
			replaced++
		}
	}
	message := fmt.Sprintf("host %s is lost (%s): %d of its instances are replaced", h.Name, cmd.Why, replaced)
	if len(stay) > 0 {
		message += "; " + strings.Join(stay, ", ") + " cannot be, the data is there"
	}
	ch.event(Event{Kind: EventHostLost, Host: h.Name, Message: message})
	return nil
}

// ownsData says whether instances of a service hold data: the file says so, or
// said so when they were placed.
func (ch *change) ownsData(service string) bool {
	_, home := ch.Homes.Get(service)
	return home || ch.Spec.Services[service].Stateful
}

func (cmd FindHost) apply(ch *change) error {
	h, err := ch.host(cmd.Name)
	if err != nil {
		return err
	}
	if !h.IsLost() {
		return refuse("host %s is not lost", h.Name)
	}
	away := ch.now.Sub(h.Lost)
	h.Lost = time.Time{}
	ch.Hosts = ch.Hosts.Put(h.Name, h)
	ch.event(Event{Kind: EventHostBack, Host: h.Name, Message: fmt.Sprintf("host %s is back after %s", h.Name, Brief(away))})
	return nil
}

func (cmd DrainHost) apply(ch *change) error {
	h, err := ch.host(cmd.Name)
	if err != nil {
		return err
	}
	if h.Draining == !cmd.Off {
		return nil
	}
	h.Draining = !cmd.Off
	ch.Hosts = ch.Hosts.Put(h.Name, h)
	if cmd.Off {
		ch.event(Event{Kind: EventHostResumed, Host: h.Name, Message: "host " + h.Name + " takes instances again"})
	} else {
		ch.event(Event{Kind: EventHostDraining, Host: h.Name, Message: "host " + h.Name + " is being drained by an operator"})
	}
	return nil
}

func (cmd RemoveHost) apply(ch *change) error {
	h, err := ch.host(cmd.Name)
	if err != nil {
		return err
	}
	var data []string
	for home := range ch.Homes.Values() {
		if home.Host == h.Name {
			data = append(data, home.Service)
		}
	}
	here := ch.OnHost(h.Name)
	switch {
	case len(data) > 0 && !cmd.AbandonData:
		return refuse("host %s holds the data of %s", h.Name, strings.Join(data, ", "))
	case len(here) > 0 && !h.IsLost() && !cmd.Force:
		return refuse("host %s has %d instances; drain it first", h.Name, len(here))
	case ch.Hosts.Len() == 1:
		return refuse("host %s is the only one", h.Name)
	}
	for _, i := range here {
		ch.Instances = ch.Instances.Delete(i.ID)
	}
	for _, service := range data {
		ch.Homes = ch.Homes.Delete(service)
	}
	ch.Hosts = ch.Hosts.Delete(h.Name)
	if h.Server != "" {
		ch.Denied = ch.Denied.Put(h.Server, Denial{Server: h.Server, Host: h.Name, At: ch.now})
	}
	message := "host " + h.Name + " has left the cluster"
	if len(data) > 0 {
		slices.Sort(data)
		message += "; the data of " + strings.Join(data, ", ") + " stays behind on it"
	}
	ch.event(Event{Kind: EventHostRemoved, Host: h.Name, Message: message})
	return nil
}
