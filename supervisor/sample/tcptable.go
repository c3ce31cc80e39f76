package sample

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
)

// tables are the connections in the text tables below a proc.
func tables(proc string) sockets {
	return func(f func(local, remote netip.AddrPort)) error {
		if err := scanTable(filepath.Join(proc, "net", "tcp"), f); err != nil {
			return err
		}
		err := scanTable(filepath.Join(proc, "net", "tcp6"), f)
		if errors.Is(err, fs.ErrNotExist) {
			// The host has no IPv6.
			return nil
		}
		return err
	}
}

func scanTable(path string, f func(local, remote netip.AddrPort)) (err error) {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		// "   0: 0100007F:0FA0 0100007F:BE6E 01 …", where 01 is established.
		fields := bytes.Fields(lines.Bytes())
		if len(fields) < 4 || string(fields[3]) != "01" {
			continue
		}
		local, err := tableEnd(fields[1])
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		remote, err := tableEnd(fields[2])
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		f(local, remote)
	}
	return lines.Err()
}

// tableEnd reads "0100007F:0FA0": the 32-bit words of an address in the
// machine's order, and the port, in hexadecimal.
func tableEnd(text []byte) (netip.AddrPort, error) {
	words, port, _ := bytes.Cut(text, []byte(":"))
	var raw [18]byte
	n, err := hex.Decode(raw[:16], words[:min(32, len(words))])
	if err != nil || (n != 4 && n != 16) || len(port) != 4 {
		return netip.AddrPort{}, fmt.Errorf("%q is no address of a table", text)
	}
	if _, err := hex.Decode(raw[16:], port); err != nil {
		return netip.AddrPort{}, fmt.Errorf("%q is no address of a table", text)
	}
	for i := 0; i < n; i += 4 {
		binary.NativeEndian.PutUint32(raw[i:], binary.BigEndian.Uint32(raw[i:]))
	}
	addr, _ := netip.AddrFromSlice(raw[:n])
	return netip.AddrPortFrom(addr, binary.BigEndian.Uint16(raw[16:])), nil
}
