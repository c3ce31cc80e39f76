package main

import (
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/supervisord/supervisord/supervisor/api"
)

func newCerts(e env) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "certs",
		Short: "List the certificates, renew one, import one, rehearse",
		Long: `certs lists the host names with TLS, their certificates, and what came of the
orders. Nothing of it shows a private key.`,
		Args: want(),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return e.withClient(func(client *api.Client) error {
				answer, err := client.Certs(cmd.Context())
				if err != nil {
					return fmt.Errorf("certs: %w", err)
				}
				if asJSON {
					return printJSON(e.out, answer)
				}
				e.screen().certs(answer)
				return nil
			})
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	c.AddCommand(newCertsRenew(e), newCertsImport(e), newCertsRehearse(e))
	return c
}

func (s screen) certs(a api.Certs) {
	if len(a.Certs) == 0 {
		s.printf("no host has TLS; x-ingress.tls in the compose file asks for it\n")
		return
	}
	if a.CA != "" {
		s.printf("from %s by %s, %d of %d orders of the last 24 hours\n\n", a.CA, a.Challenge, a.OrdersToday, a.OrdersPerDay)
	}
	rows := [][]cell{cells("HOST", "STATE", "ISSUER", "EXPIRES", "LAST ATTEMPT", "NEXT", "NOTE")}
	for _, c := range a.Certs {
		rows = append(rows, certRow(c, a.At))
	}
	s.table(rows)
}

func certRow(c api.Cert, now time.Time) []cell {
	st := cell{c.State, good}
	switch c.State {
	case api.CertNone, api.CertExpired:
		st.as = bad
	case api.CertOverdue:
		st.as = warn
	}
	expires, last, next := "", "", ""
	if !c.NotAfter.IsZero() {
		expires = c.NotAfter.UTC().Format(time.DateOnly)
	}
	if !c.LastAttempt.IsZero() {
		last = age(now.Sub(c.LastAttempt)) + " ago"
	}
	switch {
	case c.Ordering:
		next = "under way"
	case c.NextAttempt.After(now):
		next = "in " + age(c.NextAttempt.Sub(now))
	case !c.NextAttempt.IsZero() || c.State == api.CertNone && c.TLS == "auto":
		next = "now"
	}
	return []cell{{text: c.Name}, st, {text: orDash(c.Issuer)}, {text: orDash(expires)}, {text: orDash(last)}, {text: orDash(next)}, {certNote(c), faint}}
}

// certNote is what else is to be known of a certificate.
func certNote(c api.Cert) string {
	switch {
	case c.Error != "":
		where := ""
		if c.FailedAt != "" {
			where = " at " + c.FailedAt
		}
		note := fmt.Sprintf("%s in a row, %s%s: %s", counted(c.Failures, "failure"), c.FailedChallenge, where, c.Error)
		if c.Waits != "" {
			note += "; " + c.Waits
		}
		return note
	case c.Waits != "":
		return c.Waits
	case c.Imported:
		return "imported"
	}
	return ""
}

// certHosts completes the first argument with host names that have TLS.
func certHosts(e env) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 || e.fill(cmd.Flags()) != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		var names []string
		err := e.withClient(func(client *api.Client) error {
			answer, err := client.Certs(cmd.Context())
			for _, c := range answer.Certs {
				names = append(names, cobra.CompletionWithDesc(c.Name, c.State))
			}
			return err
		})
		if err != nil {
			return nil, cobra.ShellCompDirectiveError
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

func newCertsRenew(e env) *cobra.Command {
	return &cobra.Command{
		Use:   "renew NAME",
		Short: "Order the certificate of a host name now",
		Long: `renew has the certificate of a host name ordered now, whatever it waits for. Only
the orders of a day are a limit. "certs" and "events -f" show what comes of it.`,
		Args:              want("NAME"),
		ValidArgsFunction: certHosts(e),
		RunE: func(cmd *cobra.Command, args []string) error {
			return e.withClient(func(client *api.Client) error {
				c, err := client.RenewCert(cmd.Context(), args[0])
				if err != nil {
					return fmt.Errorf("renew: %w", err)
				}
				if c.Waits != "" {
					e.screen().printf("the certificate of %s is ordered %s: %s\n", c.Name, c.NextAttempt.UTC().Format(time.RFC3339), c.Waits)
					return nil
				}
				e.screen().printf("the certificate of %s is ordered now\n", c.Name)
				return nil
			})
		},
	}
}

func newCertsImport(e env) *cobra.Command {
	var cert, key string
	c := &cobra.Command{
		Use:   "import NAME --cert FILE --key FILE",
		Short: "Bring a certificate of your own for a host name",
		Long: `import puts a certificate of your own in force on all hosts, for a host name that
the compose file has with tls. It is checked first: the key is the
certificate's, the name is one of its names, it is in force, and the chain
holds. The file of the certificate has its chain too, the leaf first. Nobody
renews it but you; "certs" says when it is time.`,
		Args:              want("NAME"),
		ValidArgsFunction: certHosts(e),
		RunE: func(cmd *cobra.Command, args []string) error {
			for flag, path := range map[string]string{"--cert": cert, "--key": key} {
				if path == "" {
					return wrongUsage(cmd, fmt.Errorf("%s is missing: want a file in PEM", flag))
				}
			}
			chain, err := os.ReadFile(cert)
			if err != nil {
				return fmt.Errorf("import: %w", err)
			}
			secret, err := os.ReadFile(key)
			if err != nil {
				return fmt.Errorf("import: %w", err)
			}
			body := api.ImportCert{Cert: string(chain), Key: string(secret)}
			return e.withClient(func(client *api.Client) error {
				c, err := client.ImportCert(cmd.Context(), args[0], body)
				if err != nil {
					return fmt.Errorf("import: %w", err)
				}
				e.screen().printf("%s has a certificate of %s, good until %s\n", c.Name, c.Issuer, c.NotAfter.UTC().Format(time.DateOnly))
				return nil
			})
		},
	}
	c.Flags().StringVar(&cert, "cert", "", "file with the certificate and its chain, in PEM")
	c.Flags().StringVar(&key, "key", "", "file with the private key, in PEM")
	return c
}

func newCertsRehearse(e env) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "rehearse [NAME...]",
		Short: "Order certificates for trial, from each host",
		Long: `rehearse orders certificates from the CA's staging directory, whose certificates
nobody trusts, from each host and for all host names or those given. It uses up
none of what the CA allows, and changes nothing. It fails when an order does.`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			return e.withClient(func(client *api.Client) error {
				answer, err := client.Rehearse(cmd.Context(), args)
				if err != nil {
					return fmt.Errorf("rehearse: %w", err)
				}
				if asJSON {
					err = printJSON(e.out, answer)
				} else {
					e.screen().table(rehearsalRows(answer))
				}
				failed := 0
				for _, r := range answer.Results {
					if r.Error != "" {
						failed++
					}
				}
				if failed > 0 && err == nil {
					err = fmt.Errorf("rehearse: %s of %d failed", counted(failed, "order"), len(answer.Results))
				}
				return err
			})
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func rehearsalRows(a api.Rehearsed) [][]cell {
	rows := [][]cell{cells("HOST", "NAME", "RESULT")}
	for _, r := range a.Results {
		result := cell{"well", good}
		if r.Error != "" {
			result = cell{r.Error, bad}
		}
		rows = append(rows, []cell{{text: r.Host}, {text: orDash(r.Name)}, result})
	}
	return rows
}
