package main

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/supervisord/supervisord/supervisor/compose"
	"github.com/supervisord/supervisord/supervisor/state"
)

// validation is the answer of the command.
type validation struct {
	File     string            `json:"file"`
	Valid    bool              `json:"valid"`
	Errors   []fileProblem     `json:"errors"`
	Warnings []fileProblem     `json:"warnings"`
	Services []validateService `json:"services"`
}

// fileProblem is one error or warning; line and column begin at 1.
type fileProblem struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Key     string `json:"key,omitempty"`
	Problem string `json:"problem"`
	Want    string `json:"want,omitempty"`
}

type validateService struct {
	Name     string `json:"name"`
	Image    string `json:"image"`
	Replicas int    `json:"replicas"`
	Min      int    `json:"min,omitzero"`
	Max      int    `json:"max,omitzero"`
	Stateful bool   `json:"stateful"`
}

func newValidate(e env) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "validate FILE",
		Short: "Check a compose file, without a daemon",
		Long: `Check a compose file as the daemon would read it, without a daemon. Problems
are printed as file:line:column: key: what is wrong, all of them at once.`,
		Args: want("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			project, err := compose.Load(cmd.Context(), args[0], compose.Options{Environ: e.vars})
			v, err := validationOf(args[0], project, err)
			if err != nil {
				return err
			}
			if asJSON {
				if err := printJSON(e.out, v); err != nil {
					return err
				}
			} else {
				e.printValidation(v)
			}
			if !v.Valid {
				return usage(errSaid)
			}
			return nil
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// validationOf sorts problems of the file, which are the answer, from errors
// of reading it, which are errors.
func validationOf(file string, project *compose.Project, err error) (validation, error) {
	v := validation{File: file, Errors: []fileProblem{}, Warnings: []fileProblem{}, Services: []validateService{}}
	if err != nil {
		for _, p := range problemsOf(err) {
			v.Errors = append(v.Errors, fileProblem{p.File, p.Line, p.Col, p.Key, p.Problem, p.Want})
		}
		if len(v.Errors) == 0 && errors.Is(err, fs.ErrNotExist) {
			return v, usage(fmt.Errorf("validate: %w", err))
		}
		if len(v.Errors) == 0 {
			return v, fmt.Errorf("validate: %w", err)
		}
		return v, nil
	}
	v.Valid = true
	for _, w := range project.Warnings {
		v.Warnings = append(v.Warnings, fileProblem{File: w.File, Line: w.Line, Column: w.Col, Key: w.Key, Problem: w.Text})
	}
	for _, name := range slices.Sorted(maps.Keys(project.Spec.Services)) {
		v.Services = append(v.Services, validatedOf(project.Spec.Services[name]))
	}
	return v, nil
}

func validatedOf(s state.Service) validateService {
	out := validateService{Name: s.Name, Image: s.Container.Image, Replicas: s.Replicas, Stateful: s.Stateful}
	if s.Autoscale != nil {
		out.Min, out.Max = s.Autoscale.Min, s.Autoscale.Max
	}
	return out
}

// problemsOf are the problems that an error joins.
func problemsOf(err error) []*compose.Error {
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) {
		var all []*compose.Error
		for _, e := range joined.Unwrap() {
			all = append(all, problemsOf(e)...)
		}
		return all
	}
	if p, ok := errors.AsType[*compose.Error](err); ok {
		return []*compose.Error{p}
	}
	return nil
}

func (e env) printValidation(v validation) {
	for _, p := range v.Errors {
		fmt.Fprintln(e.err, (&compose.Error{File: p.File, Line: p.Line, Col: p.Column, Key: p.Key, Problem: p.Problem, Want: p.Want}).Error())
	}
	for _, w := range v.Warnings {
		fmt.Fprintln(e.err, "warning:", compose.Warning{File: w.File, Line: w.Line, Col: w.Column, Key: w.Key, Text: w.Problem})
	}
	if !v.Valid {
		fmt.Fprintf(e.err, "supervisord: validate: %s is not in order: %s\n", v.File, counted(len(v.Errors), "problem"))
		return
	}
	s := e.screen()
	s.printf("%s is in order: %s\n", v.File, counted(len(v.Services), "service"))
	rows := [][]cell{cells("SERVICE", "INSTANCES", "IMAGE")}
	for _, service := range v.Services {
		count := strconv.Itoa(service.Replicas)
		if service.Max > 0 {
			count = fmt.Sprintf("%d–%d, first %d", service.Min, service.Max, service.Replicas)
		}
		rows = append(rows, cells(service.Name, count, service.Image))
	}
	s.table(rows)
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return strconv.Itoa(n) + " " + what + "s"
}
