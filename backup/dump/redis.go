package dump

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc64"
	"io"
	"math/bits"
	"strconv"
	"strings"

	"github.com/supervisord/supervisord/backup"
)

// redis takes the snapshot that a server gives to its replicas. It is restored
// into a second server beside the one in use, which then becomes its replica
// for as long as it takes to have everything: the server itself replaces its
// data in one step. Both need their memory for that time.
type redis struct{ tools }

func (*redis) Extension() string { return ".rdb" }

const redisEnv = secret + `
set -u
REDISCLI_AUTH=${REDISCLI_AUTH:-${SVD_PASSWORD:-$(first REDIS_PASSWORD VALKEY_PASSWORD)}}
if [ -z "$REDISCLI_AUTH" ]; then
	for conf in "${SVD_CONFIG:-}" /usr/local/etc/redis/redis.conf /etc/redis/redis.conf; do
		[ -n "$conf" ] && [ -r "$conf" ] || continue
		while read -r key value rest; do
			[ "$key" = requirepass ] && REDISCLI_AUTH=$(printf %s "$value" | tr -d '"')
		done <"$conf"
	done
fi
[ -z "$REDISCLI_AUTH" ] && unset REDISCLI_AUTH || export REDISCLI_AUTH
client=redis-cli; command -v valkey-cli >/dev/null 2>&1 && client=valkey-cli
[ -z "${SVD_HOST:-}" ] || client="$client -h $SVD_HOST -p $SVD_PORT"
[ -z "${SVD_USER:-}" ] || client="$client --user $SVD_USER"
server=redis-server; command -v valkey-server >/dev/null 2>&1 && server=valkey-server
`

const redisDump = redisEnv + guard + `guard $client --rdb -`

// redisAsk gives one command to the server in use.
const redisAsk = redisEnv + `
out=$($client --no-auth-warning "$@") || exit
printf '%s\n' "$out"
case $out in *NOAUTH*|*WRONGPASS*|ERR*|LOADING*|*"Could not connect"*) printf '%s\n' "$out" >&2; exit 1;; esac
`

func (r *redis) Ready(ctx context.Context) error {
	out, err := r.ask(ctx, redisAsk, "", "PING")
	if err == nil && out != "PONG" {
		err = fmt.Errorf("it answers %q", out)
	}
	return err
}

func (r *redis) Dump(ctx context.Context, to io.Writer) (backup.Content, error) {
	c := backup.Content{Engine: "redis"}
	info, err := r.ask(ctx, redisAsk, "", "INFO", "server")
	if err != nil {
		return c, fmt.Errorf("look at the server: %w", err)
	}
	c.Version = field(info, "redis_version")
	seen := &rdbWatch{to: to, sum: ^uint64(0)}
	if err := r.run(ctx, redisDump, nil, seen); err != nil {
		return c, fmt.Errorf("redis-cli --rdb: %w", err)
	}
	c.Tables = seen.tables()
	return c, seen.whole()
}

// field is the value of a line "name:value".
func field(info, name string) string {
	for line := range strings.Lines(info) {
		if v, ok := strings.CutPrefix(line, name+":"); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// rdbWatch passes a snapshot on and sees that it is whole: it begins with REDIS
// and ends with the end mark and the checksum of all before it. The format is
// https://rdb.fnordig.de/file_format.html; the checksum is the CRC-64 of Jones,
// reflected, that begins with 0.
//
// After it a server may send a mark of 40 characters of its own, which the
// client passes on; it is no part of the snapshot.
type rdbWatch struct {
	to   io.Writer
	head []byte
	// held are the last bytes, which neither to nor sum have yet.
	held []byte
	sum  uint64
}

const (
	rdbHead = 4096
	rdbTail = 9
	rdbMark = 40
	rdbEOF  = 0xff
)

func jones() *crc64.Table { return crc64.MakeTable(bits.Reverse64(0xad93d23594c935a9)) }

func (w *rdbWatch) Write(p []byte) (int, error) {
	if room := rdbHead - len(w.head); room > 0 {
		w.head = append(w.head, p[:min(room, len(p))]...)
	}
	if over := min(len(w.held), len(w.held)+len(p)-rdbTail-rdbMark); over > 0 {
		if err := w.pass(w.held[:over]); err != nil {
			return 0, err
		}
		w.held = append(w.held[:0], w.held[over:]...)
	}
	if over := len(w.held) + len(p) - rdbTail - rdbMark; over > 0 {
		if err := w.pass(p[:over]); err != nil {
			return 0, err
		}
		w.held = append(w.held, p[over:]...)
		return len(p), nil
	}
	w.held = append(w.held, p...)
	return len(p), nil
}

func (w *rdbWatch) pass(p []byte) error {
	w.add(p)
	_, err := w.to.Write(p)
	return err
}

// add goes on with the sum. The library inverts it before and after.
func (w *rdbWatch) add(p []byte) { w.sum = crc64.Update(w.sum, jones(), p) }

// whole passes on what was held and says whether the snapshot ends there.
func (w *rdbWatch) whole() error {
	if len(w.head) < rdbTail || string(w.head[:5]) != "REDIS" {
		return errNoEndMark
	}
	begun := w.sum
	for _, end := range []int{len(w.held) - rdbMark, len(w.held)} {
		w.sum = begun
		if end < rdbTail || w.held[end-rdbTail] != rdbEOF {
			continue
		}
		w.add(w.held[:end-rdbTail+1])
		want := binary.LittleEndian.Uint64(w.held[end-8 : end])
		// A server with rdbchecksum no writes a zero.
		if want == ^w.sum || want == 0 {
			_, err := w.to.Write(w.held[:end])
			return err
		}
	}
	return errNoEndMark
}

// tables reads what the head says of the first database: the number of its
// keys, and of those that expire. What it cannot read is left out; to count
// the rest would take reading every value.
func (w *rdbWatch) tables() []backup.Table {
	const (
		opAux, opSelect, opResize = 0xfa, 0xfe, 0xfb
	)
	r := rdbReader{w.head}
	r.skip(9)
	for {
		switch op := r.byte(); op {
		case opAux:
			r.text()
			r.text()
		case opSelect:
			n := r.length()
			if r.byte() != opResize {
				return nil
			}
			keys, expiring := r.length(), r.length()
			if r.rest == nil {
				return nil
			}
			return []backup.Table{{Name: "db" + strconv.FormatUint(n, 10), Rows: int64(keys), Expiring: int64(expiring)}}
		default:
			return nil
		}
	}
}

// rdbReader reads the head; at its end it has no rest and gives zeros.
type rdbReader struct{ rest []byte }

func (r *rdbReader) skip(n uint64) {
	if n >= uint64(len(r.rest)) {
		r.rest = nil
		return
	}
	r.rest = r.rest[n:]
}

func (r *rdbReader) byte() byte {
	if len(r.rest) == 0 {
		return 0
	}
	b := r.rest[0]
	r.skip(1)
	return b
}

func (r *rdbReader) number(n int) uint64 {
	var v uint64
	for range n {
		v = v<<8 | uint64(r.byte())
	}
	return v
}

func (r *rdbReader) length() uint64 {
	b := r.byte()
	switch b >> 6 {
	case 0:
		return uint64(b)
	case 1:
		return uint64(b&0x3f)<<8 | uint64(r.byte())
	}
	if b == 0x81 {
		return r.number(8)
	}
	return r.number(4)
}

// text skips a string, which may be a number in one to four bytes.
func (r *rdbReader) text() {
	if len(r.rest) > 0 && r.rest[0]>>6 == 3 {
		if kind := r.byte() & 0x3f; kind < 3 {
			r.skip(1 << kind)
		} else {
			r.rest = nil
		}
		return
	}
	r.skip(r.length())
}

// redisSide is where a second server lives: a directory beside the data of the
// one in use, where there is room, and a port that it noted there.
const redisSide = redisEnv + `
base=$($client --no-auth-warning CONFIG GET dir | tail -n 1)
case $base in /*) [ -w "$base" ] || base=${TMPDIR:-/tmp};; *) base=${TMPDIR:-/tmp};; esac
dir=$base/$1
side() { port=$(cat "$dir/port"); ( unset REDISCLI_AUTH; exec $client -h 127.0.0.1 -p "$port" "$@" ); }
`

// redisLoad starts the second server on the dump, and waits until it has read
// all of it.
const redisLoad = redisSide + `
umask 077
mkdir "$dir" && cat >"$dir/dump.rdb" || exit
port=$((20000 + $$ % 20000))
for try in 1 2 3 4 5; do
	port=$((port + 7 * try))
	echo "$port" >"$dir/port"
	$server --port "$port" --bind 127.0.0.1 --dir "$dir" --dbfilename dump.rdb --save '' --appendonly no \
		--daemonize yes --pidfile "$dir/pid" --logfile "$dir/log" >/dev/null || continue
	while :; do
		case $(side PING 2>&1) in
		PONG) [ "$(side CONFIG GET dir | tail -n 1)" = "$(cd "$dir" && pwd -P)" ] && exit 0; break;;
		*LOADING*) ;;
		*) [ -s "$dir/pid" ] && kill -0 "$(cat "$dir/pid")" 2>/dev/null || { sleep 0.3; [ "$(side PING 2>&1)" = PONG ] || break; };;
		esac
		sleep 0.1
	done
done
cat "$dir/log" >&2
exit 1
`

func (r *redis) Load(ctx context.Context, dump io.Reader, _ backup.Content, into string) error {
	if !strings.HasPrefix(into, RestorePrefix) {
		return fmt.Errorf("%w: Redis has no databases with names; restore in its place, to a file or to another service", ErrNotMade)
	}
	if err := r.run(ctx, redisLoad, dump, nil, into); err != nil {
		return fmt.Errorf("load the snapshot into a server of its own: %w", err)
	}
	return nil
}

const redisCount = redisSide + `side INFO keyspace`

func (r *redis) Count(ctx context.Context, database string) ([]backup.Table, error) {
	out, err := r.ask(ctx, redisCount, "", database)
	if err != nil {
		return nil, fmt.Errorf("count the keys: %w", err)
	}
	return keyspace(out)
}

// keyspace reads lines such as "db0:keys=3,expires=1,avg_ttl=0".
func keyspace(info string) ([]backup.Table, error) {
	var tables []backup.Table
	for line := range strings.Lines(info) {
		name, rest, ok := strings.Cut(strings.TrimSpace(line), ":keys=")
		if !ok {
			continue
		}
		keys, _, _ := strings.Cut(rest, ",")
		n, err := strconv.ParseInt(keys, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("count the keys: %q: %w", line, err)
		}
		tables = append(tables, backup.Table{Name: name, Rows: n})
	}
	return tables, nil
}

// redisSwap makes the server in use a replica of the second one until it has
// all of its data, and its own master again whatever happens. A server keeps
// its old data until it has the new whole.
const redisSwap = redisSide + `
guard_end() { $client REPLICAOF NO ONE >/dev/null; }
trap guard_end EXIT
trap 'exit 1' HUP INT TERM
[ "$($client ROLE | head -n 1)" = master ] || { echo "the server is a replica of another one" >&2; exit 1; }
out=$($client REPLICAOF 127.0.0.1 "$(cat "$dir/port")")
[ "$out" = OK ] || { echo "$out" >&2; exit 1; }
for i in $(seq 36000); do
	info=$($client INFO replication)
	case $info in *master_link_status:up*) break;; esac
	kill -0 "$(cat "$dir/pid")" 2>/dev/null || { echo "the server with the restored data has ended" >&2; exit 1; }
	sleep 0.1
done
case $info in *master_link_status:up*) ;; *) echo "the data did not come over within an hour" >&2; exit 1;; esac
trap - EXIT
[ "$($client REPLICAOF NO ONE)" = OK ] || exit 1
$client INFO keyspace
`

func (r *redis) Swap(ctx context.Context, loaded string, c backup.Content) (string, error) {
	out, err := r.ask(ctx, redisSwap, "", loaded)
	if err != nil {
		return "", fmt.Errorf("take the restored data over: %w", err)
	}
	got, err := keyspace(out)
	if err == nil {
		err = Compare(c.Tables, got)
	}
	if err != nil {
		return "", fmt.Errorf("take the restored data over: %w", err)
	}
	return "the data that was there is gone; a backup of it is the way back", nil
}

const redisDrop = redisSide + `
[ -d "$dir" ] || exit 0
if [ -s "$dir/pid" ]; then
	pid=$(cat "$dir/pid")
	side SHUTDOWN NOSAVE >/dev/null 2>&1
	for i in 1 2 3 4 5 6 7 8 9 10; do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
	kill -0 "$pid" 2>/dev/null && kill -9 "$pid"
fi
rm -rf "$dir"
`

func (r *redis) Drop(ctx context.Context, database string) error {
	if _, err := r.ask(ctx, redisDrop, "", database); err != nil {
		return fmt.Errorf("end the second server: %w", err)
	}
	return nil
}
