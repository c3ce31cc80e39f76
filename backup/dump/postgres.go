package dump

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/supervisord/supervisord/backup"
)

// postgres dumps one database as plain SQL: pg_dump takes it from one snapshot,
// its end mark shows that it is whole, its rows can be counted on the way, and
// any later version can load it.
type postgres struct{ tools }

func (*postgres) Extension() string { return ".sql" }

// pgEnv is the surroundings of every call. The administrator's account is that
// of the image.
const pgEnv = secret + `
set -u
PGUSER=${PGUSER:-$(first POSTGRES_USER)}; PGUSER=${PGUSER:-postgres}
PGPASSWORD=${PGPASSWORD:-${SVD_PASSWORD:-$(first POSTGRES_PASSWORD)}}
main=$(first POSTGRES_DB); main=${main:-$PGUSER}
PGCONNECT_TIMEOUT=15
PGOPTIONS="-c statement_timeout=0 -c lock_timeout=0 -c idle_in_transaction_session_timeout=0"
export PGUSER PGPASSWORD PGCONNECT_TIMEOUT PGOPTIONS
if [ -d /usr/lib/postgresql ] && ! command -v pg_dump >/dev/null 2>&1; then
	for bin in /usr/lib/postgresql/*/bin; do PATH=$bin:$PATH; done
	export PATH
fi
`

// pgAsk reads SQL from standard input and runs it in database $1, or in the one
// in use, whose name is $2 where the environment does not say it.
const pgAsk = pgEnv + `exec psql -X -q -A -t -v ON_ERROR_STOP=1 -v inuse="${2:-$main}" -d "${1:-$main}"`

// pgDump writes the roles that the dump's owners and grants name, since they
// are no part of a database, and then the dump.
const pgDump = pgEnv + guard + `
psql -X -q -A -t -v ON_ERROR_STOP=1 -d "$1" <<'SQL' || exit
SELECT format('DO $svd$ BEGIN CREATE ROLE %I%s; EXCEPTION WHEN duplicate_object OR insufficient_privilege THEN NULL; END $svd$;',
	rolname, CASE WHEN rolcanlogin THEN ' LOGIN' ELSE '' END)
FROM pg_roles WHERE rolname !~ '^pg_' ORDER BY rolname;
SQL
guard pg_dump --format=plain --no-password --quote-all-identifiers -d "$1"
`

const pgFacts = `SELECT json_build_object(
	'version', current_setting('server_version'), 'database', current_database(), 'encoding', pg_encoding_to_char(encoding),
	'collate', datcollate, 'ctype', datctype, 'owner', pg_get_userbyid(datdba))
FROM pg_database WHERE datname = current_database();`

func (p *postgres) Ready(ctx context.Context) error {
	_, err := p.ask(ctx, pgAsk, "SELECT 1", p.Database)
	return err
}

func (p *postgres) Dump(ctx context.Context, to io.Writer) (backup.Content, error) {
	c := backup.Content{Engine: "postgres"}
	facts, err := p.ask(ctx, pgAsk, pgFacts, p.Database)
	if err != nil {
		return c, fmt.Errorf("look at the database: %w", err)
	}
	if err := json.Unmarshal([]byte(facts), &c.Settings); err != nil {
		return c, fmt.Errorf("look at the database: it answers %q: %w", facts, err)
	}
	c.Version, c.Database = c.Settings["version"], c.Settings["database"]
	delete(c.Settings, "version")
	delete(c.Settings, "database")
	counted := &copyCounter{to: to}
	if err := p.run(ctx, pgDump, nil, counted, c.Database); err != nil {
		return c, fmt.Errorf("pg_dump: %w", err)
	}
	c.Tables = counted.tables
	return c, counted.whole()
}

// copyCounter passes a dump on and counts the rows of its COPY blocks.
type copyCounter struct {
	to     io.Writer
	tables []backup.Table
	inCopy bool
	// line is the beginning of a line that is not whole yet, tail the end of
	// all that has passed.
	line []byte
	tail []byte
}

const (
	// maxLine is how much of a line is looked at: a COPY line names all columns.
	maxLine = 256 << 10
	tailLen = 512
)

func (c *copyCounter) Write(p []byte) (int, error) {
	n, err := c.to.Write(p)
	if err != nil {
		return n, err
	}
	if c.tail = append(c.tail, p[max(0, len(p)-tailLen):]...); len(c.tail) > tailLen {
		c.tail = append(c.tail[:0], c.tail[len(c.tail)-tailLen:]...)
	}
	for len(p) > 0 {
		end := bytes.IndexByte(p, '\n')
		if end < 0 {
			c.line = append(c.line, p[:min(len(p), max(0, maxLine-len(c.line)))]...)
			break
		}
		line := p[:end]
		if len(c.line) > 0 {
			c.line = append(c.line, line...)
			line = c.line
		}
		c.take(line)
		c.line = c.line[:0]
		p = p[end+1:]
	}
	return n, nil
}

func (c *copyCounter) take(line []byte) {
	if c.inCopy {
		if len(line) == 2 && line[0] == '\\' && line[1] == '.' {
			c.inCopy = false
			return
		}
		c.tables[len(c.tables)-1].Rows++
		return
	}
	if !bytes.HasPrefix(line, []byte(`COPY "`)) || !bytes.HasSuffix(line, []byte(" FROM stdin;")) {
		return
	}
	if name, ok := tableName(string(line[len("COPY "):])); ok {
		c.inCopy = true
		c.tables = append(c.tables, backup.Table{Name: name})
	}
}

// tableName reads "schema"."table" at the beginning of a text.
func tableName(text string) (string, bool) {
	var parts []string
	for range 2 {
		if !strings.HasPrefix(text, `"`) {
			return "", false
		}
		end := 1
		for end < len(text) {
			if text[end] != '"' {
				end++
				continue
			}
			if end+1 < len(text) && text[end+1] == '"' {
				end += 2
				continue
			}
			break
		}
		if end >= len(text) {
			return "", false
		}
		parts = append(parts, strings.ReplaceAll(text[1:end], `""`, `"`))
		text = strings.TrimPrefix(text[end+1:], ".")
	}
	return strings.Join(parts, "."), true
}

var errNoEndMark = errors.New("the dump lacks its end mark, though the tool said that it has succeeded")

// whole says whether the end mark has come, and nothing after it but what
// belongs to it.
func (c *copyCounter) whole() error {
	_, after, ok := bytes.Cut(c.tail, []byte("\n-- PostgreSQL database dump complete\n--\n"))
	if !ok || c.inCopy {
		return errNoEndMark
	}
	// Newer ones end what they began with \restrict.
	rest := strings.TrimSpace(string(after))
	if rest != "" && (!strings.HasPrefix(rest, `\unrestrict `) || strings.Contains(rest, "\n")) {
		return errNoEndMark
	}
	return nil
}

func quoteIdent(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

func quoteText(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }

// maintenance is the database that one is connected to while another is made or
// renamed.
func maintenance(database string) string {
	if database == "postgres" {
		return "template1"
	}
	return "postgres"
}

// pgLoad loads a dump into database $1.
const pgLoad = pgEnv + `exec psql -X -q -o /dev/null -v ON_ERROR_STOP=1 -d "$1"`

func (p *postgres) Load(ctx context.Context, dump io.Reader, c backup.Content, into string) error {
	make := "CREATE DATABASE " + quoteIdent(into) + " TEMPLATE template0"
	for _, s := range []struct{ key, sql string }{{"encoding", "ENCODING"}, {"collate", "LC_COLLATE"}, {"ctype", "LC_CTYPE"}} {
		if v := c.Settings[s.key]; v != "" {
			make += " " + s.sql + " " + quoteText(v)
		}
	}
	if _, err := p.ask(ctx, pgAsk, make, maintenance(into)); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrNotMade, into, err)
	}
	if err := p.run(ctx, pgLoad, dump, nil, into); err != nil {
		return fmt.Errorf("load database %s: %w", into, err)
	}
	if owner := c.Settings["owner"]; owner != "" {
		own := "ALTER DATABASE " + quoteIdent(into) + " OWNER TO " + quoteIdent(owner)
		if _, err := p.ask(ctx, pgAsk, own, maintenance(into)); err != nil {
			return fmt.Errorf("give database %s its owner: %w", into, err)
		}
	}
	return nil
}

const pgCount = `SELECT format('SELECT json_build_array(%L, count(*)) FROM %I.%I', nspname || '.' || relname, nspname, relname)
FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace
WHERE relkind = 'r' AND relpersistence <> 't' AND nspname <> 'information_schema' AND nspname !~ '^pg_' ORDER BY 1
\gexec
`

func (p *postgres) Count(ctx context.Context, database string) ([]backup.Table, error) {
	out, err := p.ask(ctx, pgAsk, pgCount, database)
	if err != nil {
		return nil, fmt.Errorf("count the rows of %s: %w", database, err)
	}
	var tables []backup.Table
	lines := bufio.NewScanner(strings.NewReader(out))
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		var row [2]any
		if err := json.Unmarshal(lines.Bytes(), &row); err != nil {
			return nil, fmt.Errorf("count the rows of %s: it answers %q: %w", database, lines.Text(), err)
		}
		rows, _ := row[1].(float64)
		tables = append(tables, backup.Table{Name: fmt.Sprint(row[0]), Rows: int64(rows)})
	}
	return tables, lines.Err()
}

// pgSwap exchanges two databases in one transaction. Until then nobody may
// connect to the one in use, and what does is ended. Settings and grants of the
// database itself are no part of a dump, and are taken over.
func pgSwap(loaded, inUse, old string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `SELECT format('ALTER DATABASE %%I SET %%I TO %%s', %[1]s,
	split_part(s, '=', 1), CASE WHEN split_part(s, '=', 1) IN ('search_path', 'DateStyle', 'session_preload_libraries', 'temp_tablespaces')
	THEN substr(s, strpos(s, '=') + 1) ELSE quote_literal(substr(s, strpos(s, '=') + 1)) END)
FROM pg_db_role_setting r JOIN pg_database d ON d.oid = r.setdatabase, unnest(setconfig) s WHERE datname = %[2]s AND setrole = 0
UNION ALL SELECT format('GRANT %%s ON DATABASE %%I TO %%s', privilege_type, %[1]s,
	CASE WHEN grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END)
FROM pg_database, aclexplode(datacl) WHERE datname = %[2]s
\gexec
`, quoteText(loaded), quoteText(inUse))
	fmt.Fprintf(&b, "ALTER DATABASE %s ALLOW_CONNECTIONS false;\n", quoteIdent(inUse))
	fmt.Fprintf(&b, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname IN (%s, %s) AND pid <> pg_backend_pid();\n", quoteText(inUse), quoteText(loaded))
	// The ended ones take a moment to be gone.
	fmt.Fprintf(&b, `DO $svd$ BEGIN
	FOR i IN 1..100 LOOP
		EXIT WHEN NOT EXISTS (SELECT 1 FROM pg_stat_activity WHERE datname IN (%s, %s));
		PERFORM pg_sleep(0.1);
		PERFORM pg_stat_clear_snapshot();
	END LOOP;
END $svd$;
`, quoteText(inUse), quoteText(loaded))
	fmt.Fprintf(&b, "BEGIN;\nALTER DATABASE %s RENAME TO %s;\nALTER DATABASE %s RENAME TO %s;\nCOMMIT;\n",
		quoteIdent(inUse), quoteIdent(old), quoteIdent(loaded), quoteIdent(inUse))
	fmt.Fprintf(&b, "ALTER DATABASE %s ALLOW_CONNECTIONS true;\n", quoteIdent(old))
	return b.String()
}

func (p *postgres) Swap(ctx context.Context, loaded string, c backup.Content) (string, error) {
	inUse, err := p.ask(ctx, pgAsk, "SELECT current_database()", p.Database)
	if err != nil {
		return "", fmt.Errorf("look at the database in use: %w", err)
	}
	old := fit(inUse, "_before_"+strings.TrimPrefix(loaded, RestorePrefix))
	if _, err = p.ask(ctx, pgAsk, pgSwap(loaded, inUse, old), maintenance(inUse)); err != nil {
		// Whatever it was, the one in use must be open again.
		open := "ALTER DATABASE " + quoteIdent(inUse) + " ALLOW_CONNECTIONS true"
		_, undo := p.ask(context.WithoutCancel(ctx), pgAsk, open, maintenance(inUse))
		return "", errors.Join(fmt.Errorf("put the restored database in the place of %s: %w", inUse, err), undo)
	}
	return fmt.Sprintf("the database that was there is %s now; drop it when it is no longer needed", strconv.Quote(old)), nil
}

// fit shortens a name so that it has room for an ending.
func fit(name, ending string) string {
	const most = 63
	return name[:min(len(name), most-len(ending))] + ending
}

func (p *postgres) Drop(ctx context.Context, database string) error {
	// A swap that was cut off may have left the one in use closed.
	end := `SELECT format('ALTER DATABASE %I ALLOW_CONNECTIONS true', datname) FROM pg_database WHERE datname = :'inuse' AND NOT datallowconn
\gexec
` + "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = " + quoteText(database) + ";\nDROP DATABASE IF EXISTS " + quoteIdent(database) + ";"
	if _, err := p.ask(ctx, pgAsk, end, maintenance(database), p.Database); err != nil {
		return fmt.Errorf("drop database %s: %w", database, err)
	}
	return nil
}
