package dump

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/supervisord/supervisord/backup"
)

// mysql dumps one database of MySQL or MariaDB as SQL, from one transaction.
// Tables of engines without transactions are not consistent with the rest.
type mysql struct{ tools }

func (*mysql) Extension() string { return ".sql" }

// myEnv is the surroundings of every call. The client takes the password from
// MYSQL_PWD, which is in the environment of this one process.
const myEnv = secret + `
set -u
root=$(first MARIADB_ROOT_PASSWORD MYSQL_ROOT_PASSWORD)
user=root MYSQL_PWD=${SVD_PASSWORD:-$root}
if [ -z "$MYSQL_PWD" ] && [ -n "$(first MARIADB_PASSWORD MYSQL_PASSWORD)" ] && [ -n "$(first MARIADB_USER MYSQL_USER)" ]; then
	user=$(first MARIADB_USER MYSQL_USER) MYSQL_PWD=$(first MARIADB_PASSWORD MYSQL_PASSWORD)
fi
user=${SVD_USER:-$user}
[ -z "$MYSQL_PWD" ] && unset MYSQL_PWD || export MYSQL_PWD
main=$(first MARIADB_DATABASE MYSQL_DATABASE)
client=mysql; command -v mariadb >/dev/null 2>&1 && client=mariadb
dump=mysqldump; command -v mariadb-dump >/dev/null 2>&1 && dump=mariadb-dump
`

// myLogin begins the arguments of every client: the file must come first.
const myLogin = ` ${SVD_LOGIN:+"--defaults-extra-file=$SVD_LOGIN"} ${SVD_HOST:+--protocol=tcp --host="$SVD_HOST" --port="$SVD_PORT"} --user="$user" `

// myAsk reads SQL from standard input; it runs in no database.
const myAsk = myEnv + `exec $client` + myLogin + `--batch --raw --skip-column-names --default-character-set=utf8mb4`

// myMain prints the name of the database in use, $1 where it is given.
const myMain = myEnv + `printf %s "${1:-$main}"`

const myDump = myEnv + guard + `
more=
$dump --help 2>/dev/null | grep -q -e --set-gtid-purged && more=--set-gtid-purged=OFF
guard $dump` + myLogin + `--single-transaction --quick --routines --triggers --events --hex-blob --no-tablespaces \
	--default-character-set=utf8mb4 $more "$1"
`

func (m *mysql) Ready(ctx context.Context) error {
	_, err := m.ask(ctx, myAsk, "SELECT 1;")
	return err
}

// main is the name of the database in use.
func (m *mysql) main(ctx context.Context) (string, error) {
	name, err := m.ask(ctx, myMain, "", m.Database)
	if err == nil && name == "" {
		err = errors.New("which database? name it in x-backup.database, or in MYSQL_DATABASE")
	}
	return name, err
}

func (m *mysql) Dump(ctx context.Context, to io.Writer) (backup.Content, error) {
	c := backup.Content{Engine: m.Engine}
	var err error
	if c.Database, err = m.main(ctx); err != nil {
		return c, err
	}
	facts, err := m.ask(ctx, myAsk, "SELECT CONCAT_WS('\\t', VERSION(), DEFAULT_CHARACTER_SET_NAME, DEFAULT_COLLATION_NAME) FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = "+quoteMy(c.Database)+";")
	if err != nil {
		return c, fmt.Errorf("look at the database: %w", err)
	}
	parts := strings.Split(facts, "\t")
	if len(parts) != 3 {
		return c, fmt.Errorf("there is no database %q", c.Database)
	}
	c.Version, c.Settings = parts[0], map[string]string{"charset": parts[1], "collate": parts[2]}
	counted := &insertCounter{to: to}
	if err := m.run(ctx, myDump, nil, counted, c.Database); err != nil {
		return c, fmt.Errorf("dump: %w", err)
	}
	c.Tables = counted.tables
	return c, counted.whole()
}

// insertCounter passes a dump on and counts the rows of its INSERTs. It knows
// no more of SQL than what a dump is made of: statements, one begun at the
// start of a line; rows in parentheses; texts in quotes with backslashes; no
// raw line end in any of them.
type insertCounter struct {
	to     io.Writer
	tables []backup.Table
	index  map[string]int
	line   []byte
	tail   []byte
	state  int
	table  int
}

const (
	// atLine: at the beginning of a line, whose first bytes are in line.
	atLine = iota
	// skip: the rest of the line does not matter.
	skip
	// outside, inRow and inText: in the rows of an INSERT.
	outside
	inRow
	inText
	escaped
)

func (c *insertCounter) Write(p []byte) (int, error) {
	n, err := c.to.Write(p)
	if err != nil {
		return n, err
	}
	if c.tail = append(c.tail, p[max(0, len(p)-tailLen):]...); len(c.tail) > tailLen {
		c.tail = append(c.tail[:0], c.tail[len(c.tail)-tailLen:]...)
	}
	for i := 0; i < len(p); {
		i = c.step(p, i)
	}
	return n, nil
}

// step looks at p from i on and returns where to go on.
func (c *insertCounter) step(p []byte, i int) int {
	switch c.state {
	case atLine:
		return c.begin(p, i)
	case skip:
		end := bytes.IndexByte(p[i:], '\n')
		if end < 0 {
			return len(p)
		}
		c.state = atLine
		return i + end + 1
	case escaped:
		c.state = inText
		return i + 1
	case inText:
		for ; i < len(p); i++ {
			switch p[i] {
			case '\\':
				c.state = escaped
				return i + 1
			case '\'':
				c.state = inRow
				return i + 1
			}
		}
		return i
	case inRow:
		for ; i < len(p); i++ {
			switch p[i] {
			case '\'':
				c.state = inText
				return i + 1
			case ')':
				c.state = outside
				return i + 1
			}
		}
		return i
	}
	switch p[i] {
	case '(':
		c.tables[c.table].Rows++
		c.state = inRow
	case ';':
		c.state = skip
	}
	return i + 1
}

const insert = "INSERT INTO `"

// begin gathers a line until it is clear what it is.
func (c *insertCounter) begin(p []byte, i int) int {
	for ; i < len(p); i++ {
		b := p[i]
		if b == '\n' {
			c.line = c.line[:0]
			continue
		}
		c.line = append(c.line, b)
		if n := len(c.line); n <= len(insert) && b != insert[n-1] {
			c.line, c.state = c.line[:0], skip
			return i + 1
		}
		if text, ok := bytes.CutSuffix(c.line, []byte(" VALUES")); ok && len(text) > len(insert) {
			c.enter(string(text[len(insert):]))
			c.line, c.state = c.line[:0], outside
			return i + 1
		}
		if len(c.line) > maxLine {
			c.line, c.state = c.line[:0], skip
			return i + 1
		}
	}
	return i
}

// enter begins the rows of a table; the text is what follows the first quote of
// its name.
func (c *insertCounter) enter(text string) {
	name, _, _ := strings.Cut(strings.ReplaceAll(text, "``", "\x00"), "`")
	name = strings.ReplaceAll(name, "\x00", "`")
	n, ok := c.index[name]
	if !ok {
		if c.index == nil {
			c.index = map[string]int{}
		}
		n = len(c.tables)
		c.index[name] = n
		c.tables = append(c.tables, backup.Table{Name: name})
	}
	c.table = n
}

// whole says whether the end mark has come as the last line.
func (c *insertCounter) whole() error {
	text := strings.TrimRight(string(c.tail), "\n")
	if last := text[strings.LastIndex(text, "\n")+1:]; c.state != atLine || !strings.HasPrefix(last, "-- Dump completed") {
		return errNoEndMark
	}
	return nil
}

func quoteMy(text string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(text) + "'"
}

func quoteName(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }

const myLoad = myEnv + `exec $client` + myLogin + `--batch --default-character-set=utf8mb4 "$1"`

func (m *mysql) Load(ctx context.Context, dump io.Reader, c backup.Content, into string) error {
	make := "CREATE DATABASE " + quoteName(into)
	if set := c.Settings["charset"]; set != "" {
		make += " CHARACTER SET " + quoteMy(set)
	}
	if collate := c.Settings["collate"]; collate != "" {
		make += " COLLATE " + quoteMy(collate)
	}
	if _, err := m.ask(ctx, myAsk, make+";"); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrNotMade, into, err)
	}
	if err := m.run(ctx, myLoad, dump, nil, into); err != nil {
		return fmt.Errorf("load database %s: %w", into, err)
	}
	return nil
}

// tables are the names of the base tables of a database.
func (m *mysql) tables(ctx context.Context, database string) ([]string, error) {
	out, err := m.ask(ctx, myAsk, "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_TYPE = 'BASE TABLE' AND TABLE_SCHEMA = "+quoteMy(database)+" ORDER BY 1;")
	if err != nil || out == "" {
		return nil, err
	}
	return strings.Split(out, "\n"), nil
}

func (m *mysql) Count(ctx context.Context, database string) ([]backup.Table, error) {
	names, err := m.tables(ctx, database)
	if err != nil {
		return nil, fmt.Errorf("count the rows of %s: %w", database, err)
	}
	var sql strings.Builder
	for _, name := range names {
		fmt.Fprintf(&sql, "SELECT COUNT(*) FROM %s.%s;\n", quoteName(database), quoteName(name))
	}
	out, err := m.ask(ctx, myAsk, sql.String())
	if err != nil {
		return nil, fmt.Errorf("count the rows of %s: %w", database, err)
	}
	counts := strings.Fields(out)
	if len(counts) != len(names) {
		return nil, fmt.Errorf("count the rows of %s: %d answers for %d tables", database, len(counts), len(names))
	}
	tables := make([]backup.Table, len(names))
	for i, name := range names {
		rows, err := strconv.ParseInt(counts[i], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("count the rows of %s: %w", database, err)
		}
		tables[i] = backup.Table{Name: name, Rows: rows}
	}
	return tables, nil
}

// unmovable counts what RENAME TABLE cannot take to another database.
const unmovable = `SELECT CONCAT_WS(', ',
	(SELECT IF(COUNT(*) > 0, CONCAT(COUNT(*), ' views'), NULL) FROM information_schema.VIEWS WHERE TABLE_SCHEMA = @db),
	(SELECT IF(COUNT(*) > 0, CONCAT(COUNT(*), ' triggers'), NULL) FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = @db),
	(SELECT IF(COUNT(*) > 0, CONCAT(COUNT(*), ' routines'), NULL) FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = @db),
	(SELECT IF(COUNT(*) > 0, CONCAT(COUNT(*), ' events'), NULL) FROM information_schema.EVENTS WHERE EVENT_SCHEMA = @db));
`

// ErrCannotSwap: the engine has no way to exchange the databases in one step.
var ErrCannotSwap = errors.New("this database cannot be replaced in one step")

// Swap moves all tables in one RENAME, which the server does as a whole or not
// at all.
func (m *mysql) Swap(ctx context.Context, loaded string, _ backup.Content) (string, error) {
	inUse, err := m.main(ctx)
	if err != nil {
		return "", err
	}
	for _, database := range []string{inUse, loaded} {
		has, err := m.ask(ctx, myAsk, "SET @db = "+quoteMy(database)+";\n"+unmovable)
		if err != nil {
			return "", fmt.Errorf("look at database %s: %w", database, err)
		}
		if has != "" {
			return "", fmt.Errorf("%w: it has %s, which MySQL and MariaDB cannot move; restore to a database of another name (--to), and have the application use that", ErrCannotSwap, has)
		}
	}
	old := fit(inUse, "_before_"+strings.TrimPrefix(loaded, RestorePrefix))
	sql, err := m.renames(ctx, loaded, inUse, old)
	if err != nil {
		return "", err
	}
	if _, err := m.ask(ctx, myAsk, "CREATE DATABASE "+quoteName(old)+";\n"+sql+";\nDROP DATABASE "+quoteName(loaded)+";"); err != nil {
		return "", fmt.Errorf("put the restored tables in the place of those of %s: %w", inUse, err)
	}
	return fmt.Sprintf("the tables that were there are in database %q now; drop it when they are no longer needed", old), nil
}

func (m *mysql) renames(ctx context.Context, loaded, inUse, old string) (string, error) {
	var moves []string
	for _, way := range [][2]string{{inUse, old}, {loaded, inUse}} {
		names, err := m.tables(ctx, way[0])
		if err != nil {
			return "", fmt.Errorf("look at the tables of %s: %w", way[0], err)
		}
		for _, name := range names {
			moves = append(moves, fmt.Sprintf("%s.%s TO %s.%s", quoteName(way[0]), quoteName(name), quoteName(way[1]), quoteName(name)))
		}
	}
	if len(moves) == 0 {
		return "SELECT 1", nil
	}
	return "RENAME TABLE " + strings.Join(moves, ", "), nil
}

func (m *mysql) Drop(ctx context.Context, database string) error {
	if _, err := m.ask(ctx, myAsk, "DROP DATABASE IF EXISTS "+quoteName(database)+";"); err != nil {
		return fmt.Errorf("drop database %s: %w", database, err)
	}
	return nil
}
