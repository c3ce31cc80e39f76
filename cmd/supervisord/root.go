package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// constructors are the commands, in the order of the help.
func constructors() []func(env) *cobra.Command {
	return []func(env) *cobra.Command{
		newRun,
		newInstall,
		newInit,
		newJoin,
		newHosts,
		newLeave,
		newToken,
		newRecover,
		newDemo,
		newValidate,
		newStatus,
		newEvents,
		newWhy,
		newScale,
		newDeploy,
		newRollback,
		newRevisions,
		newCanary,
		newPromote,
		newAbort,
		newAdopt,
		newCerts,
		newBackup,
		newLogs,
		newVersion,
	}
}

// newRoot is the tree of all commands.
func newRoot(e env) *cobra.Command {
	root := &cobra.Command{
		Use:   "supervisord",
		Short: "Keep N containers behind nginx on plain Docker hosts, scaled by load",
		Long: `supervisord keeps N containers behind nginx on plain Docker hosts, and scales
them by load.

Every flag is an environment variable too, named in its description; the
command line goes first.

` + exitHelp,
		SilenceErrors:              true,
		SilenceUsage:               true,
		SuggestionsMinimumDistance: 2,
		Args:                       noSuchCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			fmt.Fprintln(e.err, cmd.UsageString())
			return usage(errors.New("no command is given"))
		},
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return e.fill(cmd.Flags()) },
	}
	root.SetIn(e.in)
	root.SetOut(e.out)
	root.SetErr(e.err)
	root.SetFlagErrorFunc(wrongUsage)
	e.to.register(root.PersistentFlags())
	for _, construct := range constructors() {
		root.AddCommand(construct(e))
	}
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	nameVariables(root)
	markArguments(root)
	return root
}

// noSuchCommand answers a first word that is no command.
func noSuchCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := "supervisord --help lists the commands"
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		hint = "did you mean " + strings.Join(near, " or ") + "?"
	}
	return &usageError{err: fmt.Errorf("there is no command %q", args[0]), hint: hint}
}

func wrongUsage(cmd *cobra.Command, err error) error {
	return &usageError{err: fmt.Errorf("%s: %w", cmd.Name(), err), hint: cmd.CommandPath() + " --help"}
}

// markArguments makes wrong arguments of any command a wrong usage.
func markArguments(root *cobra.Command) {
	for _, c := range root.Commands() {
		markArguments(c)
		check := c.Args
		if check == nil {
			continue
		}
		c.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return wrongUsage(cmd, err)
			}
			return nil
		}
	}
}

// want is a check of arguments that says what was expected.
func want(names ...string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) == len(names) {
			return nil
		}
		expected := strings.Join(names, " ")
		if expected == "" {
			expected = "no arguments"
		}
		return fmt.Errorf("want %s, got %s", expected, counted(len(args), "argument"))
	}
}

// completeWithin bounds the wait for a daemon while somebody types.
const completeWithin = time.Second

// services completes the first argument with the names of services. Without a
// daemon there are none.
func services(e env) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 || e.fill(cmd.Flags()) != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		client, err := e.client()
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		defer client.Close()
		ctx, cancel := context.WithTimeout(cmd.Context(), completeWithin)
		defer cancel()
		answer, err := client.Services(ctx)
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		var names []string
		for _, s := range answer.Services {
			names = append(names, cobra.CompletionWithDesc(s.Name, s.Image))
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}
