package engine_test

import (
	"net"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/network"
)

// BenchmarkLaunch is create, start and inspect of a published container;
// removal is not timed.
func BenchmarkLaunch(b *testing.B) {
	e := kit.New(b)
	for b.Loop() {
		c, err := e.Engine.Launch(b.Context(), e.Published(e.Container("serve", "80")))
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := e.Remove(b.Context(), c.ID); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

// BenchmarkLaunchToServing goes on until the container accepts connections.
func BenchmarkLaunchToServing(b *testing.B) {
	e := kit.New(b)
	for b.Loop() {
		c, err := e.Engine.Launch(b.Context(), e.Published(e.Container("serve", "80")))
		if err != nil {
			b.Fatal(err)
		}
		for {
			conn, err := net.Dial("tcp", c.Address)
			if err == nil {
				conn.Close()
				break
			}
			time.Sleep(time.Millisecond)
		}
		b.StopTimer()
		if err := e.Remove(b.Context(), c.ID); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

// BenchmarkEngineFloor is create and start with the bare client: what a Launch
// cannot be faster than.
func BenchmarkEngineFloor(b *testing.B) {
	e := kit.New(b)
	for b.Loop() {
		l := e.Published(e.Container("serve", "80"))
		c, err := e.Docker.ContainerCreate(b.Context(), &container.Config{Image: e.Image}, &container.HostConfig{}, &network.NetworkingConfig{}, nil, l.Name)
		if err != nil {
			b.Fatal(err)
		}
		if err := e.Docker.ContainerStart(b.Context(), c.ID, container.StartOptions{}); err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := e.Docker.ContainerRemove(b.Context(), c.ID, container.RemoveOptions{Force: true}); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

// BenchmarkInspect of a running container, which each Launch ends with.
func BenchmarkInspect(b *testing.B) {
	e := kit.New(b)
	c := e.Run(e.Published(e.Container("serve", "80")))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := e.Inspect(b.Context(), c.ID); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkList of ten containers.
func BenchmarkList(b *testing.B) {
	e := kit.New(b)
	for range 10 {
		e.Run(e.Launch(e.Container("serve", "80")))
	}
	for b.Loop() {
		if _, err := e.List(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
