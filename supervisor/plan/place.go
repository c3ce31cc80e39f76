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

// Rooms is the room of every host.
func Rooms(c state.Cluster) map[string]Room {
	rooms := make(map[string]Room, c.Hosts.Len())
	for h := range c.Hosts.Values() {
		rooms[h.Name] = Room{CPUs: h.CPUs, Memory: h.Memory, Instances: map[string]int{}}
	}
	for i := range c.Instances.Values() {
		// What drains or has failed still holds its memory.
		if room, ok := rooms[i.Host]; ok {
			rooms[i.Host] = room.Take(i.Service, c.Spec.Services[i.Service])
		}
	}
	return rooms
}

// Take is the room that is left beside one more instance of the service. The
// name is apart because an instance may outlive its service's entry.
func (r Room) Take(name string, s state.Service) Room {
	cpus, memory := Need(s)
	r.CPUs -= cpus
	r.Memory -= memory
	r.Instances = maps.Clone(r.Instances)
	r.Instances[name]++
	return r
}

// Choose picks the host for one more instance: of those with enough free
// memory the one with the fewest instances of the service, then the most free
// CPU, then the most free memory, then by name. Where none fits the host is
// "" and why says what each lacks.
func Choose(s state.Service, rooms map[string]Room) (host, why string) {
	_, memory := Need(s)
	var fits, lacks []string
	for _, name := range slices.Sorted(maps.Keys(rooms)) {
		if room := rooms[name]; room.Memory >= memory {
			fits = append(fits, name)
		} else {
			lacks = append(lacks, fmt.Sprintf("%s has %d MiB of memory free", name, room.Memory>>20))
		}
	}
	switch {
	case len(rooms) == 0:
		return "", "no host has joined"
	case len(fits) == 0:
		return "", fmt.Sprintf("an instance of %s needs %d MiB of memory: %s", s.Name, memory>>20, strings.Join(lacks, ", "))
	}
	host = slices.MinFunc(fits, func(a, b string) int {
		ra, rb := rooms[a], rooms[b]
		return cmp.Or(
			cmp.Compare(ra.Instances[s.Name], rb.Instances[s.Name]),
			cmp.Compare(rb.CPUs, ra.CPUs),
			cmp.Compare(rb.Memory, ra.Memory),
			cmp.Compare(a, b),
		)
	})
	return host, "has the most room"
}
