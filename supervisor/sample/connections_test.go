package sample

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

const tcpTable = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:0FA0 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1609 1 0 100 0 0 10 0
   1: 0100007F:0FA0 0100007F:BE6E 01 00000000:00000000 00:00000000 00000000     0        0 1 1 0 20 4 30 10 -1
   2: 0100007F:BE6E 0100007F:0FA0 01 00000000:00000000 00:00000000 00000000     0        0 2 1 0 20 4 30 10 -1
   3: 0100007F:BE6F 0100007F:0FA0 01 00000000:00000000 00:00000000 00000000     0        0 3 1 0 20 4 30 10 -1
   4: 0100007F:0FA0 0100007F:BE70 06 00000000:00000000 03:00000C9A 00000000     0        0 0 3 0
   5: 0100007F:0FA0 0100007F:BE71 08 00000000:00000000 00:00000000 00000000     0        0 4 1 0 20 4 30 10 -1
   6: 0100007F:0FA1 0100007F:BE72 01 00000000:00000000 00:00000000 00000000     0        0 5 1 0 20 4 30 10 -1
   7: 0500000A:0FA0 0100007F:BE73 01 00000000:00000000 00:00000000 00000000     0        0 6 1 0 20 4 30 10 -1
`

const tcp6Table = `  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0000000000000000FFFF00000100007F:0FA0 0000000000000000FFFF00000100007F:BE6F 01 00000000:00000000 00:00000000 00000000     0        0 7 1 0 20 4 30 10 -1
   1: 0000000000000000FFFF00000100007F:0FA0 0000000000000000FFFF00000900000A:BE80 01 00000000:00000000 00:00000000 00000000     0        0 8 1 0 20 4 30 10 -1
   2: 00000000000000000000000001000000:0FA0 00000000000000000000000001000000:BE81 01 00000000:00000000 00:00000000 00000000     0        0 9 1 0 20 4 30 10 -1
   3: B80D0120000000000000000001000000:0FA0 B80D0120000000000000000002000000:BE82 01 00000000:00000000 00:00000000 00000000     0        0 9 1 0 20 4 30 10 -1
   4: B80D0120000000000000000001000000:0FA0 B80D0120010000000000000002000000:BE82 01 00000000:00000000 00:00000000 00000000     0        0 9 1 0 20 4 30 10 -1
`

func procWith(t *testing.T, tcp, tcp6 string) string {
	t.Helper()
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "net"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"tcp": tcp, "tcp6": tcp6} {
		if text == "" {
			continue
		}
		if err := os.WriteFile(filepath.Join(root, "net", name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestEstablishedConnectionsAreCountedOnce(t *testing.T) {
	proc := procWith(t, tcpTable, tcp6Table)
	for _, tc := range []struct {
		address string
		want    int
	}{
		// BE6E has both ends here, BE6F its client's and a proxy's on IPv6,
		// 10.0.0.9 came from outside; the others end, or go elsewhere.
		{"127.0.0.1:4000", 3},
		{"127.0.0.1:4001", 1},
		{"10.0.0.5:4000", 1},
		{"127.0.0.1:4002", 0},
		{"[::1]:4000", 1},
		{"[2001:db8::1]:4000", 2},
	} {
		if got, err := count(tc.address, tables(proc)); err != nil || got != tc.want {
			t.Errorf("%s: got %d, %v, want %d", tc.address, got, err, tc.want)
		}
	}
}

func TestAHostWithoutIPv6(t *testing.T) {
	if got, err := count("127.0.0.1:4000", tables(procWith(t, tcpTable, ""))); err != nil || got != 2 {
		t.Errorf("got %d, %v", got, err)
	}
	if _, err := count("127.0.0.1:4000", tables(procWith(t, "", tcp6Table))); err == nil {
		t.Error("without a table there is no count, but no error came")
	}
}

func TestAnAddressMustBeOne(t *testing.T) {
	for _, address := range []string{"", "4000", "localhost:4000", "0.0.0.0:4000", "127.0.0.1:0"} {
		if _, err := Connections(address); err == nil || !strings.Contains(err.Error(), "want") {
			t.Errorf("%q: %v", address, err)
		}
	}
}

func TestATableThatCannotBeReadIsAnError(t *testing.T) {
	for _, line := range []string{"0: 0100007F:0FA0 0100007F 01", "0: 0100007X:0FA0 0100007F:0FA1 01", "0: 01:0FA0 0100007F:0FA1 01", "0: 0100007F:0FAX 0100007F:0FA1 01"} {
		if _, err := count("127.0.0.1:4000", tables(procWith(t, "sl\n"+line+"\n", ""))); err == nil || !strings.Contains(err.Error(), "no address") {
			t.Errorf("%s: %v", line, err)
		}
	}
}

func TestRealSockets(t *testing.T) {
	for network, listen := range map[string]string{"tcp4": "127.0.0.1:0", "tcp6": "[::1]:0"} {
		for name, all := range map[string]sockets{"netlink": dumpSockets, "tables": tables("/proc")} {
			t.Run(network+", "+name, func(t *testing.T) { realSockets(t, network, listen, all) })
		}
	}
}

func realSockets(t *testing.T, network, listen string, all sockets) {
	l, err := net.Listen(network, listen)
	if err != nil && network == "tcp6" {
		t.Skip("this host has no IPv6:", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	check := func(want int) {
		t.Helper()
		if got, err := count(l.Addr().String(), all); err != nil || got != want {
			t.Errorf("got %d, %v, want %d", got, err, want)
		}
		if got, err := Connections(l.Addr().String()); err != nil || got != want {
			t.Errorf("Connections: got %d, %v, want %d", got, err, want)
		}
	}
	check(0)
	var ends []net.Conn
	for range 2 {
		c, err := net.Dial(network, l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		a, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		ends = append(ends, c, a)
	}
	check(2)
	for _, c := range ends[:2] {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	check(1)
	for _, c := range ends[2:] {
		c.Close()
	}
}

func TestAKernelThatRefusesIsAnError(t *testing.T) {
	// No kernel has a family of this number.
	var errno syscall.Errno
	if err := dumpFamily(200, func(_, _ netip.AddrPort) {}); !errors.As(err, &errno) {
		t.Errorf("got %v", err)
	}
}

func BenchmarkConnections(b *testing.B) {
	for name, all := range map[string]sockets{"netlink": dumpSockets, "tables": tables("/proc")} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := count("127.0.0.1:4000", all); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
