package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/supervisord/supervisord/supervisor/api"
	"github.com/supervisord/supervisord/supervisor/state"
)

// statusAnswer is the answer of the command.
type statusAnswer struct {
	api.Status
	Instances []api.Instance `json:"instances"`
}

func newStatus(e env) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Show services, instances, and what is wrong",
		Args:  want(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			client, err := e.client()
			if err != nil {
				return err
			}
			defer client.Close()
			var a statusAnswer
			if a.Status, err = client.Status(cmd.Context()); err != nil {
				return fmt.Errorf("status: %w", err)
			}
			instances, err := client.Instances(cmd.Context())
			if err != nil {
				return fmt.Errorf("status: %w", err)
			}
			a.Instances = instances.Instances
			if asJSON {
				return printJSON(e.out, a)
			}
			e.screen().status(a)
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func (s screen) status(a statusAnswer) {
	s.cutOff(a.Status)
	s.table([][]cell{
		cells("host", fmt.Sprintf("%s, supervisord %s, %s, up %s", a.Host, a.Version, leadership(a.Raft), age(a.At.Sub(a.StartedAt)))),
		cells("spec", specLine(a.Spec)),
		{{text: "health"}, {healthLine(a.Health), healthStyle(a.Health.Overall)}},
	})
	for _, p := range a.Spec.Problems {
		s.printf("\n%s\n", s.paint(fmt.Sprintf("The edit on %s is not in force, revision %d goes on:", p.Host, a.Spec.Revision), bad))
		for line := range strings.Lines(p.Problem) {
			s.printf("  %s\n", strings.TrimSuffix(line, "\n"))
		}
	}
	if k := a.Canary; k != nil {
		s.printf("\n%s\n", s.paint(fmt.Sprintf("A canary gets %s of the requests: %s", shareText(k.Share), k.Change), warn))
	}
	for _, b := range a.Outside {
		if b.Problem != "" {
			s.printf("\n%s\n", s.paint(fmt.Sprintf("%s, a database outside: %s", b.Service, b.Problem), warn))
		}
	}
	if len(a.Hosts) > 1 {
		s.printf("\n")
		s.table(hostRows(a.Hosts, a.At))
	}
	s.printf("\n")
	s.table(serviceRows(a.Services, a.At))
	if len(a.Instances) > 0 {
		s.printf("\n")
		s.table(instanceRows(a.Instances, a.At))
	}
}

func leadership(r api.Raft) string {
	switch {
	case r.IsLeader:
		return fmt.Sprintf("leads term %d", r.Term)
	case r.Leader != "":
		return fmt.Sprintf("follows %s in term %d", r.Leader, r.Term)
	}
	return "knows no leader"
}

func specLine(s api.Spec) string {
	if s.Revision == 0 {
		return "none is in force yet"
	}
	line := fmt.Sprintf("%s, revision %d", s.Project, s.Revision)
	if s.State != "" && s.State != state.ReleaseHealthy {
		line += fmt.Sprintf(" is %s", s.State)
	}
	if s.Why != "" {
		line += ": " + s.Why
	}
	return line
}

func healthStyle(status string) style {
	switch status {
	case api.Healthy:
		return good
	case api.Degraded:
		return warn
	}
	return bad
}

// healthLine names the parts that are not healthy.
func healthLine(m api.Monitoring) string {
	line := m.Overall
	parts := append(append([]api.Component{}, m.Databases...), m.Others...)
	for _, c := range []*api.Component{m.Raft, m.Nginx, m.Engine, m.System} {
		if c != nil {
			parts = append([]api.Component{*c}, parts...)
		}
	}
	join := ": "
	for _, c := range parts {
		if c.Status != api.Healthy {
			line += join + c.Name + " " + c.Status + " (" + c.Detail + ")"
			join = ", "
		}
	}
	return line
}

func serviceRows(services []api.Service, now time.Time) [][]cell {
	rows := [][]cell{cells("SERVICE", "READY", "BOUNDS", "CPU", "MEMORY", "NOTE")}
	for _, v := range services {
		ready := cell{fmt.Sprintf("%d/%d", v.Phases.Ready, v.Desired), good}
		if v.Phases.Ready < v.Desired {
			ready.as = warn
		}
		if v.Phases.Ready == 0 && v.Desired > 0 {
			ready.as = bad
		}
		bounds := "–"
		if v.Autoscaled {
			bounds = fmt.Sprintf("%d–%d", v.Min, v.Max)
		}
		rows = append(rows, []cell{
			{text: v.Name}, ready, {text: bounds}, {text: percentOf(v.CPU)}, {text: percentOf(v.Memory)}, {serviceNote(v, now), faint},
		})
	}
	return rows
}

// serviceNote is the most important thing to know of a service.
func serviceNote(v api.Service, now time.Time) string {
	var notes []string
	for _, host := range sortedKeys(v.Rejected) {
		notes = append(notes, fmt.Sprintf("nginx on %s refuses its site: %s", host, v.Rejected[host]))
	}
	switch {
	case v.Suspected != "":
		notes = append(notes, v.Suspected)
	case v.Sick > 0:
		notes = append(notes, fmt.Sprintf("%s sick", counted(v.Sick, "instance")))
	}
	if f := v.Failures; f != nil && (f.Retry.After(now) || v.Phases.Ready < v.Desired) {
		notes = append(notes, fmt.Sprintf("%s in a row, the last: %s", counted(f.Count, "failure"), f.Reason))
	}
	if v.Pending != "" {
		notes = append(notes, v.Pending)
	}
	if v.Backup != nil && v.Backup.Problem != "" {
		notes = append(notes, "backup: "+v.Backup.Problem)
	}
	if v.Hold != nil {
		notes = append(notes, fmt.Sprintf("held at %d by an operator", *v.Hold))
	}
	if v.Outdated > 0 {
		notes = append(notes, fmt.Sprintf("%s of an older definition", counted(v.Outdated, "instance")))
	}
	if len(notes) == 0 {
		return v.Sentence
	}
	return strings.Join(notes, "; ")
}

// instanceName is an instance's name, with its container's where that is another.
func instanceName(i api.Instance) string {
	if i.IsAdopted() {
		return fmt.Sprintf("%s (%s)", i.Name, i.Adopted.Name)
	}
	return i.Name
}

func instanceRows(instances []api.Instance, now time.Time) [][]cell {
	rows := [][]cell{cells("INSTANCE", "PHASE", "AGE", "HOST", "ADDRESS", "CPU", "MEMORY")}
	for _, i := range instances {
		cpu, memory := "–", "–"
		if i.Sample != nil {
			cpu, memory = percent(i.Sample.CPU), percent(i.Sample.Memory)
		}
		phase := cell{string(i.Phase), warn}
		switch i.Phase {
		case state.Ready:
			phase.as = good
			if i.Sick != "" {
				phase = cell{"sick", bad}
			}
		case state.Failed:
			phase.as = bad
		}
		rows = append(rows, []cell{
			{text: instanceName(i)}, phase, {text: age(now.Sub(i.PhaseAt))}, {text: i.Host}, {text: orDash(i.Address)}, {text: cpu}, {text: memory},
		})
	}
	return rows
}
