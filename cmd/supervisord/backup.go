package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/supervisord/supervisord/supervisor/api"
)

func newBackup(e env) *cobra.Command {
	c := &cobra.Command{
		Use:   "backup",
		Short: "Take, list, verify and restore backups of databases",
		Args:  noSuchCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return wrongUsage(cmd, errors.New("want now, list, verify or restore"))
		},
	}
	c.AddCommand(newBackupNow(e), newBackupList(e), newBackupVerify(e), newBackupRestore(e))
	return c
}

// taskWatch begins a task and follows it to its end.
type taskWatch struct {
	env
	detach bool
	asJSON bool
}

func (w *taskWatch) register(c *cobra.Command) {
	c.Flags().BoolVar(&w.detach, "detach", false, "do not wait for the end")
	c.Flags().BoolVar(&w.asJSON, "json", false, "print how it went as JSON")
}

func newBackupNow(e env) *cobra.Command {
	w := &taskWatch{env: e}
	c := &cobra.Command{
		Use:   "now SERVICE",
		Short: "Take a backup now, and see it through",
		Args:  want("SERVICE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return e.withClient(func(client *api.Client) error {
				begun, err := client.BackUp(cmd.Context(), api.BackupNow{Service: args[0], By: e.user()})
				if err != nil {
					return fmt.Errorf("backup: %w", err)
				}
				return w.through(cmd.Context(), client, begun)
			})
		},
		ValidArgsFunction: services(e),
	}
	w.register(c)
	return c
}

func newBackupVerify(e env) *cobra.Command {
	w := &taskWatch{env: e}
	c := &cobra.Command{
		Use:   "verify ID",
		Short: "Restore a backup into a container of its own, and see whether all is there",
		Long: `verify is a restore drill: the backup is restored into a container of the same
image, without a network, and its tables and rows are compared with those that
were dumped. Every further copy is read to its end. The container is removed.`,
		Args: want("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return e.withClient(func(client *api.Client) error {
				begun, err := client.VerifyBackup(cmd.Context(), args[0], api.BackupUse{By: e.user()})
				if err != nil {
					return fmt.Errorf("backup: %w", err)
				}
				return w.through(cmd.Context(), client, begun)
			})
		},
	}
	w.register(c)
	return c
}

func newBackupRestore(e env) *cobra.Command {
	w := &taskWatch{env: e}
	var to string
	var yes bool
	c := &cobra.Command{
		Use:   "restore ID",
		Short: "Restore a backup",
		Long: `restore loads a backup into a new database beside the one in use, sees that all
of it is there, and only then exchanges the two in one step. PostgreSQL, MySQL
and MariaDB keep what was there before under another name; Redis does not.

--to database:NAME   leaves it beside the one in use, under that name
--to service:NAME    puts it in the place of another service's database
--to file:/PATH      writes the plain dump to a file of the host that has it`,
		Example: `  supervisord backup restore db-20261126-030000-123
  supervisord backup restore db-20261126-030000-123 --to database:look`,
		Args: want("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return e.withClient(func(client *api.Client) error {
				b, err := findBackup(cmd.Context(), client, args[0])
				if err != nil {
					return fmt.Errorf("backup: %w", err)
				}
				if !yes {
					if err := e.confirm(restoreQuestion(b, to)); err != nil {
						return fmt.Errorf("backup: %w", err)
					}
				}
				begun, err := client.RestoreBackup(cmd.Context(), b.ID, api.BackupUse{To: to, By: e.user()})
				if err != nil {
					return fmt.Errorf("backup: %w", err)
				}
				return w.through(cmd.Context(), client, begun)
			})
		},
	}
	c.Flags().StringVar(&to, "to", "", "database:NAME, service:NAME or file:/PATH; the place of the database in use by default")
	c.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	w.register(c)
	return c
}

func findBackup(ctx context.Context, client *api.Client, id string) (api.Backup, error) {
	all, err := client.Backups(ctx, "")
	if err != nil {
		return api.Backup{}, err
	}
	for _, b := range all.Backups {
		if b.ID == id {
			return b, nil
		}
	}
	return api.Backup{}, fmt.Errorf("there is no backup %q; supervisord backup list shows all", id)
}

// restoreQuestion says what a restore is going to do.
func restoreQuestion(b api.Backup, to string) string {
	what := fmt.Sprintf("%s is of %s, taken %s, %s in %s", b.ID, b.Service, stamp(b.Began), counted(int(b.Rows), "row"), counted(b.Tables, "table"))
	if !b.Restorable {
		what += "; it is not known to restore"
	}
	switch {
	case to == "":
		what += fmt.Sprintf(".\nIt takes the place of %s's database, whose connections are ended. What was written since is no longer in use", b.Service)
	case strings.HasPrefix(to, "service:"):
		what += fmt.Sprintf(".\nIt takes the place of the database of %s, whose connections are ended. What is there is no longer in use", strings.TrimPrefix(to, "service:"))
	default:
		what += fmt.Sprintf(".\nIt goes to %s. What is in use stays as it is", to)
	}
	return what + "."
}

// confirm asks on the terminal; anything but yes is no.
func (e env) confirm(text string) error {
	fmt.Fprintf(e.err, "%s\nGo on? Type yes: ", text)
	line, err := bufio.NewReader(e.in).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if strings.TrimSpace(line) != "yes" {
		return errors.New("not confirmed, so nothing was done; --yes does not ask")
	}
	return nil
}

// through tells how far a task is until its end, and fails when that is not a
// good one.
func (w *taskWatch) through(ctx context.Context, client *api.Client, begun api.TaskAnswer) error {
	fmt.Fprintf(w.err, "task %s on %s\n", begun.Task.ID, begun.Task.Host)
	if w.detach {
		if w.asJSON {
			return printJSON(w.out, begun)
		}
		return nil
	}
	end, err := w.follow(ctx, client, begun.Task.ID)
	if err != nil {
		return fmt.Errorf("task %s: %w; it goes on, supervisord backup list shows how it ends", begun.Task.ID, err)
	}
	if w.asJSON {
		if err := printJSON(w.out, end); err != nil {
			return err
		}
	}
	if end.Result.Error != "" {
		return fmt.Errorf("%s: %s", end.Task.Kind, end.Result.Error)
	}
	if !w.asJSON {
		w.screen().printf("%s\n", taskSentence(end))
	}
	if end.Record != nil && end.Record.Partial && end.Task.Kind == "backup" {
		var missing []string
		for _, target := range sortedKeys(end.Record.Missing) {
			missing = append(missing, target+": "+end.Record.Missing[target])
		}
		return fmt.Errorf("the backup is partial, it is missing in %s", strings.Join(missing, "; "))
	}
	return nil
}

func taskSentence(a api.TaskAnswer) string {
	if a.Result.Detail == "" {
		return fmt.Sprintf("%s of %s is done", a.Task.Kind, a.Task.Service)
	}
	return fmt.Sprintf("%s: %s", a.Task.Kind, a.Result.Detail)
}

func (w *taskWatch) follow(ctx context.Context, client *api.Client, id string) (api.TaskAnswer, error) {
	var last api.TaskProgress
	for {
		a, err := client.Task(ctx, id)
		switch {
		case ctx.Err() != nil:
			return a, ctx.Err()
		case errors.Is(err, api.ErrUnreachable), errors.Is(err, api.ErrUnavailable):
		case err != nil:
			return a, err
		case a.Ended:
			return a, nil
		case a.Progress != nil:
			if p := *a.Progress; p.Phase != last.Phase || p.Seconds-last.Seconds >= 1 {
				fmt.Fprintf(w.err, "  %s\n", progressLine(p, last))
				last = p
			}
		}
		select {
		case <-ctx.Done():
			return a, ctx.Err()
		case <-time.After(lookEvery):
		}
	}
}

// progressLine is how far a task is; the rate is that since the line before.
func progressLine(p, last api.TaskProgress) string {
	line := fmt.Sprintf("%-9s %6.1fs  %10s of dump  %10s stored", p.Phase, p.Seconds, bytesOf(p.Dumped), bytesOf(p.Stored))
	if d := p.Seconds - last.Seconds; d > 0 && p.Dumped >= last.Dumped {
		line += fmt.Sprintf("  %s/s", bytesOf(int64(float64(p.Dumped-last.Dumped)/d)))
	}
	return line
}

// bytesOf is a size for people.
func bytesOf(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	size, prefixes := float64(n)/unit, "KMGTP"
	for size >= unit && len(prefixes) > 1 {
		size, prefixes = size/unit, prefixes[1:]
	}
	return fmt.Sprintf("%.1f %ciB", size, prefixes[0])
}

func newBackupList(e env) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "list [SERVICE]",
		Short: "List backups, and how those of each service stand",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 1 {
				return fmt.Errorf("want a service or nothing, got %s", counted(len(args), "argument"))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return e.withClient(func(client *api.Client) error {
				answer, err := client.Backups(cmd.Context(), strings.Join(args, ""))
				if err != nil {
					return fmt.Errorf("backup: %w", err)
				}
				if asJSON {
					return printJSON(e.out, answer)
				}
				e.screen().backups(answer)
				return nil
			})
		},
		ValidArgsFunction: services(e),
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func (s screen) backups(a api.Backups) {
	if len(a.Services) == 0 {
		s.printf("no service has an x-backup key\n")
		return
	}
	s.table(backupStatusRows(a.Services, a.At))
	if len(a.Backups) > 0 {
		s.printf("\n")
		s.table(backupRows(a.Backups, a.At))
	}
}

// ago is how long a time is past, or ahead.
func ago(t, now time.Time) string {
	switch {
	case t.IsZero():
		return "–"
	case t.After(now):
		return "in " + age(t.Sub(now))
	}
	return age(now.Sub(t)) + " ago"
}

func backupStatusRows(all []api.BackupStatus, now time.Time) [][]cell {
	rows := [][]cell{cells("SERVICE", "BACKUPS", "LAST", "KNOWN TO RESTORE", "NEXT", "NOTE")}
	for _, b := range all {
		last, known := cell{text: "never", as: warn}, cell{text: "none", as: warn}
		if b.Last != nil {
			last = cell{text: ago(b.Last.Began, now)}
		}
		if b.KnownToRestore != nil {
			known = cell{text: ago(b.KnownToRestore.Began, now), as: good}
		}
		note := cell{text: b.Problem, as: bad}
		if b.Task != nil {
			note = cell{text: fmt.Sprintf("%s under way on %s", b.Task.Kind, b.Task.Host), as: faint}
		}
		rows = append(rows, []cell{{text: b.Service}, {text: fmt.Sprint(b.Count)}, last, known, {text: ago(b.Next, now)}, note})
	}
	return rows
}

func backupRows(all []api.Backup, now time.Time) [][]cell {
	rows := [][]cell{cells("BACKUP", "AGE", "SIZE", "DUMP", "ROWS", "RESTORES", "COPIES")}
	for _, b := range all {
		restores := cell{text: "not tried", as: faint}
		switch {
		case b.Damaged != "":
			restores = cell{text: "no: " + b.Damaged, as: bad}
			if runes := []rune(restores.text); len(runes) > 40 {
				restores.text = string(runes[:39]) + "…"
			}
		case b.Restorable:
			restores = cell{text: fmt.Sprintf("yes, %.1fs", b.DrillSeconds), as: good}
		}
		copies := cell{text: strings.Join(b.Copies, ", ")}
		if b.Partial {
			copies.text += "; missing in " + strings.Join(sortedKeys(b.Missing), ", ")
			copies.as = warn
		}
		rows = append(rows, []cell{{text: b.ID}, {text: age(now.Sub(b.Began))}, {text: bytesOf(b.Size)}, {text: bytesOf(b.DumpSize)}, {text: fmt.Sprint(b.Rows)}, restores, copies})
	}
	return rows
}
