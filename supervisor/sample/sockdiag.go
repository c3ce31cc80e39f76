package sample

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"syscall"
	"time"
)

// The kernel's socket monitoring, sock_diag(7); package syscall lacks these.
const (
	netlinkSockDiag    = 4
	sockDiagByFamily   = 20
	stateEstablished   = 1
	netlinkHeader      = 16
	requestSize        = 56
	offsetPorts        = 4
	offsetSource       = 8
	offsetDestination  = 24
	smallestDiagAnswer = 40
	// answerWithin bounds the wait for the kernel, which answers at once.
	answerWithin = time.Second
)

// dumpSockets are the connections that the kernel tells of over netlink.
func dumpSockets(f func(local, remote netip.AddrPort)) error {
	for _, family := range []byte{syscall.AF_INET, syscall.AF_INET6} {
		if err := dumpFamily(family, f); err != nil {
			return fmt.Errorf("ask the kernel for its sockets: %w", err)
		}
	}
	return nil
}

func dumpFamily(family byte, f func(local, remote netip.AddrPort)) error {
	fd, err := syscall.Socket(syscall.AF_NETLINK, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, netlinkSockDiag)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer syscall.Close(fd)
	limit := syscall.NsecToTimeval(answerWithin.Nanoseconds())
	if err := syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &limit); err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	if err := syscall.Sendto(fd, request(family), 0, &syscall.SockaddrNetlink{Family: syscall.AF_NETLINK}); err != nil {
		return os.NewSyscallError("sendto", err)
	}
	buffer := make([]byte, 32<<10)
	for {
		n, _, err := syscall.Recvfrom(fd, buffer, 0)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return os.NewSyscallError("recvfrom", err)
		}
		messages, err := syscall.ParseNetlinkMessage(buffer[:n])
		if err != nil {
			return err
		}
		for _, m := range messages {
			if done, err := takeAnswer(m, f); done || err != nil {
				return err
			}
		}
	}
}

// request asks for all established TCP sockets of a family.
func request(family byte) []byte {
	r := make([]byte, netlinkHeader+requestSize)
	binary.NativeEndian.PutUint32(r[0:], uint32(len(r)))
	binary.NativeEndian.PutUint16(r[4:], sockDiagByFamily)
	binary.NativeEndian.PutUint16(r[6:], syscall.NLM_F_REQUEST|syscall.NLM_F_DUMP)
	r[netlinkHeader], r[netlinkHeader+1] = family, syscall.IPPROTO_TCP
	binary.NativeEndian.PutUint32(r[netlinkHeader+4:], 1<<stateEstablished)
	return r
}

// takeAnswer reads one message; done says that it is the last.
func takeAnswer(m syscall.NetlinkMessage, f func(local, remote netip.AddrPort)) (done bool, err error) {
	switch m.Header.Type {
	case syscall.NLMSG_DONE:
		return true, nil
	case syscall.NLMSG_ERROR:
		if len(m.Data) >= 4 {
			return true, syscall.Errno(-int32(binary.NativeEndian.Uint32(m.Data)))
		}
	case sockDiagByFamily:
		if len(m.Data) >= smallestDiagAnswer {
			size := 4
			if m.Data[0] == syscall.AF_INET6 {
				size = 16
			}
			local, _ := netip.AddrFromSlice(m.Data[offsetSource : offsetSource+size])
			remote, _ := netip.AddrFromSlice(m.Data[offsetDestination : offsetDestination+size])
			f(netip.AddrPortFrom(local, binary.BigEndian.Uint16(m.Data[offsetPorts:])),
				netip.AddrPortFrom(remote, binary.BigEndian.Uint16(m.Data[offsetPorts+2:])))
			return false, nil
		}
	}
	return true, fmt.Errorf("netlink message of type %d and %d bytes", m.Header.Type, len(m.Data))
}
