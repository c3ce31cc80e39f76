package plan

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/supervisord/supervisord/supervisor/state"
)

// Room is what is free on a host: what it has, less what its instances have
// reserved.
type Room struct {
	Host state.Host
	// CPUs in cores may go below zero: CPU is shared out by weight. Memory in
	// bytes may not.
	CPUs   float64
	Memory int64
	// Instances by service, to spread each service over the hosts.
	Instances map[string]int
}

// Need is what one instance of a service reserves: its reservation, or its
// limit where it states none.
func Need(s state.Service) (cpus float64, memory int64) {
	res := s.Container.Resources
	return cmp.Or(res.CPUReservation, res.CPULimit), cmp.Or(res.MemoryReservation, res.MemoryLimit)
}

// Rooms is the room of every host, by name.
type Rooms map[string]*Room

// RoomsOf counts up what every host has free.
func RoomsOf(c state.Cluster) Rooms {
	rooms := make(Rooms, c.Hosts.Len())
	for h := range c.Hosts.Values() {
		rooms[h.Name] = &Room{Host: h, CPUs: h.CPUs, Memory: h.Memory, Instances: map[string]int{}}
	}
	for i := range c.Instances.Values() {
		// What drains or has failed still holds its memory.
		if room, ok := rooms[i.Host]; ok {
			s, _ := c.ServiceOf(i)
			room.take(i.Service, s)
		}
	}
	return rooms
}

// take reserves room for one more instance of the service. The name is apart
// because an instance may outlive its service's entry.
func (r *Room) take(name string, s state.Service) {
	cpus, memory := Need(s)
	r.CPUs -= cpus
	r.Memory -= memory
	r.Instances[name]++
}

// lacks says why a host cannot have one more instance of a service; "" when
// it can.
func (r *Room) lacks(s state.Service, home string) string {
	h := r.Host
	if k, against := s.Placement.Against(h); against {
		return "does not meet " + k.String()
	}
	_, memory := Need(s)
	most := s.Placement.MaxPerHost
	switch {
	case home != "" && home != h.Name:
		return "does not hold its data"
	case h.IsLost():
		return "is lost"
	case h.Draining && home == "":
		return "is being drained"
	case most > 0 && r.Instances[s.Name] >= most:
		return fmt.Sprintf("has %d of it, max_replicas_per_node is %d", r.Instances[s.Name], most)
	case r.Memory < memory:
		return fmt.Sprintf("has %d MiB of memory free, %d MiB are needed", r.Memory>>20, memory>>20)
	}
	return ""
}

// Choose picks the host for one more instance of a service: of those that may
// have it and have the memory, the one whose values of the spread labels have
// the fewest instances, then the one with the fewest itself, then the most
// free CPU, then the most free memory, then by name. Avoid is a host that is
// taken only where no other fits; home the one that holds the service's data,
// if any does. Where none fits the host is "" and why says what each lacks.
func (rooms Rooms) Choose(s state.Service, home, avoid string) (host, why string) {
	if len(rooms) == 0 {
		return "", "no host has joined"
	}
	var fits []*Room
	var lacks []string
	for _, name := range slices.Sorted(maps.Keys(rooms)) {
		if lack := rooms[name].lacks(s, home); lack != "" {
			lacks = append(lacks, name+" "+lack)
		} else {
			fits = append(fits, rooms[name])
		}
	}
	if len(fits) == 0 {
		return "", "no host fits: " + strings.Join(lacks, ", ")
	}
	crowds := rooms.crowds(s)
	best := slices.MinFunc(fits, func(a, b *Room) int {
		for n, label := range s.Placement.Spread {
			if c := cmp.Compare(crowds[n][a.Host.Labels[label]], crowds[n][b.Host.Labels[label]]); c != 0 {
				return c
			}
		}
		return cmp.Or(
			cmpBool(a.Host.Name != avoid, b.Host.Name != avoid),
			cmp.Compare(a.Instances[s.Name], b.Instances[s.Name]),
			cmp.Compare(b.CPUs, a.CPUs),
			cmp.Compare(b.Memory, a.Memory),
			cmp.Compare(a.Host.Name, b.Host.Name),
		)
	})
	if home != "" {
		return best.Host.Name, "it holds the data of " + s.Name
	}
	return best.Host.Name, "has the most room"
}

// crowds counts a service's instances by the values of each spread label.
func (rooms Rooms) crowds(s state.Service) []map[string]int {
	crowds := make([]map[string]int, len(s.Placement.Spread))
	for n, label := range s.Placement.Spread {
		crowds[n] = map[string]int{}
		for _, r := range rooms {
			crowds[n][r.Host.Labels[label]] += r.Instances[s.Name]
		}
	}
	return crowds
}
