package engine

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/docker/docker/api/types/container"

	"github.com/supervisord/supervisord/supervisor/agent"
)

// adoptedHere are the containers that this cluster has adopted, by id.
func (e *Engine) adoptedHere() map[string]agent.Adopted {
	if e.adopted == nil {
		return nil
	}
	return e.adopted()
}

// labelled says whether a container was made by this cluster.
func (e *Engine) labelled(c container.InspectResponse) bool {
	return c.Config.Labels[LabelCluster] == e.cluster
}

// owns says whether a container is this cluster's: made by it, or adopted.
func (e *Engine) owns(c container.InspectResponse) bool {
	if e.labelled(c) {
		return true
	}
	_, adopted := e.adoptedHere()[c.ID]
	return adopted
}

// describe puts the engine's description of a container of ours into the agent's
// form. What labels say of others, the state says of an adopted one.
func (e *Engine) describe(c container.InspectResponse) (agent.Container, error) {
	d, err := describe(c)
	if err != nil || e.labelled(c) {
		return d, err
	}
	a, ok := e.adoptedHere()[c.ID]
	if !ok {
		return agent.Container{}, fmt.Errorf("%w of cluster %s", agent.ErrNoContainer, e.cluster)
	}
	d.Adopted, d.Instance, d.Service, d.Revision, d.Address = true, a.Instance, a.Service, a.Revision, a.Address
	return d, nil
}

// graceOf is the seconds between the stop signal and the kill: an adopted
// container's own where they are more.
func (e *Engine) graceOf(c container.InspectResponse, seconds int) int {
	if own := c.Config.StopTimeout; own != nil && !e.labelled(c) {
		return max(seconds, *own)
	}
	return seconds
}

// SetRestart gives a container of ours another restart policy, in the form of
// docker run's --restart; agent.ErrNoContainer where there is none.
func (e *Engine) SetRestart(ctx context.Context, id, policy string) error {
	if err := e.setRestart(ctx, id, policy); err != nil {
		return failure(ctx, err, "set the restart policy of container %s", id)
	}
	return nil
}

func (e *Engine) setRestart(ctx context.Context, id, policy string) error {
	c, err := e.find(ctx, id)
	if err != nil {
		return err
	}
	want, err := restartPolicy(policy)
	if err != nil {
		return err
	}
	if restartText(c.HostConfig.RestartPolicy) == restartText(want) {
		return nil
	}
	short, cancel := e.within(ctx)
	defer cancel()
	_, err = e.api().ContainerUpdate(short, c.ID, container.UpdateConfig{RestartPolicy: want})
	return err
}

// restartPolicy reads what restartText has written.
func restartPolicy(text string) (container.RestartPolicy, error) {
	name, times, counted := strings.Cut(text, ":")
	p := container.RestartPolicy{Name: container.RestartPolicyMode(name)}
	if counted {
		n, err := strconv.Atoi(times)
		if err != nil {
			return p, fmt.Errorf("restart policy %q: want NAME or NAME:TIMES", text)
		}
		p.MaximumRetryCount = n
	}
	return p, container.ValidateRestartPolicy(p)
}

func restartText(p container.RestartPolicy) string {
	switch {
	case p.Name == "":
		return string(container.RestartPolicyDisabled)
	case p.MaximumRetryCount > 0:
		return fmt.Sprintf("%s:%d", p.Name, p.MaximumRetryCount)
	}
	return string(p.Name)
}
