package engine_test

import (
	"strings"
	"testing"

	"github.com/docker/docker/api/types/network"
	"github.com/docker/docker/api/types/volume"

	"github.com/supervisord/supervisord/supervisor/engine"
	"github.com/supervisord/supervisord/supervisor/engine/enginetest"
	"github.com/supervisord/supervisord/supervisor/state"
)

func TestNetworksAndVolumesAreMadeOnce(t *testing.T) {
	e := kit.New(t)
	net, data := enginetest.Name("net"), enginetest.Name("data")
	spec := state.Spec{
		Networks: map[string]state.Network{
			"db": {Name: net, Internal: true, Labels: map[string]string{"team": "a"}, Options: map[string]string{"com.docker.network.bridge.enable_icc": "true"}},
			// Its name is a part of the other's.
			"short": {Name: net[:len(net)-2]},
		},
		Volumes: map[string]state.Volume{"data": {Name: data, Labels: map[string]string{"team": "b"}}},
	}
	var ids []string
	for range 2 {
		if err := e.Prepare(t.Context(), spec); err != nil {
			t.Fatal(err)
		}
		n, err := e.Docker.NetworkInspect(t.Context(), net, network.InspectOptions{})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, n.ID)
		if !n.Internal || n.Labels["team"] != "a" || n.Labels[engine.LabelCluster] != e.Cluster || len(n.Options) != 1 {
			t.Errorf("got network %+v", n)
		}
		if _, err := e.Docker.NetworkInspect(t.Context(), net[:len(net)-2], network.InspectOptions{}); err != nil {
			t.Error(err)
		}
		v, err := e.Docker.VolumeInspect(t.Context(), data)
		if err != nil {
			t.Fatal(err)
		}
		if v.Labels["team"] != "b" || v.Labels[engine.LabelCluster] != e.Cluster || v.Driver != "local" {
			t.Errorf("got volume %+v", v)
		}
	}
	if ids[0] != ids[1] {
		t.Error("the network was made anew")
	}
}

func TestWhatExistsStaysAsItIs(t *testing.T) {
	e := kit.New(t)
	net, data := enginetest.Name("net"), enginetest.Name("data")
	made, err := e.Docker.NetworkCreate(t.Context(), net, network.CreateOptions{Driver: "bridge"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := e.Docker.NetworkRemove(t.Context(), made.ID); err != nil {
			t.Error(err)
		}
	}()
	if _, err := e.Docker.VolumeCreate(t.Context(), volume.CreateOptions{Name: data}); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := e.Docker.VolumeRemove(t.Context(), data, false); err != nil {
			t.Error(err)
		}
	}()
	for _, external := range []bool{true, false} {
		err := e.Prepare(t.Context(), state.Spec{
			Networks: map[string]state.Network{"n": {Name: net, External: external, Internal: true}},
			Volumes:  map[string]state.Volume{"v": {Name: data, External: external}},
		})
		if err != nil {
			t.Errorf("external %v: %v", external, err)
		}
	}
	n, err := e.Docker.NetworkInspect(t.Context(), net, network.InspectOptions{})
	if err != nil || n.ID != made.ID || n.Internal {
		t.Errorf("got %+v, %v", n, err)
	}
}

func TestWhatIsExternalMustExist(t *testing.T) {
	e := kit.New(t)
	for what, spec := range map[string]state.Spec{
		"network": {Networks: map[string]state.Network{"n": {Name: enginetest.Name("none"), External: true}}},
		"volume":  {Volumes: map[string]state.Volume{"v": {Name: enginetest.Name("none"), External: true}}},
	} {
		err := e.Prepare(t.Context(), spec)
		if err == nil || !strings.Contains(err.Error(), "external and does not exist") || !strings.HasPrefix(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
