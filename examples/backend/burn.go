package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"
	"unsafe"
)

// roundsPerLook is how many hashes are made between two looks at the clock:
// some tens of microseconds.
const roundsPerLook = 256

// burn hashes until this thread has used as much CPU time as wanted. Time on
// the wall would be no work: an instance that waits for its share of a core
// would be let off. It returns what it used, at the most some hashes more than
// wanted unless ctx ended.
func burn(ctx context.Context, want time.Duration) (used time.Duration, digest [sha256.Size]byte, err error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	start, err := threadTime()
	if err != nil {
		return 0, digest, err
	}
	for used < want && ctx.Err() == nil {
		for range roundsPerLook {
			digest = sha256.Sum256(digest[:])
		}
		now, err := threadTime()
		if err != nil {
			return used, digest, err
		}
		used = now - start
	}
	return used, digest, ctx.Err()
}

// clockThreadCPUTime is CLOCK_THREAD_CPUTIME_ID of clock_gettime(2) on Linux.
const clockThreadCPUTime = 3

// threadTime is the CPU time that this thread has used.
func threadTime() (time.Duration, error) {
	var ts syscall.Timespec
	if _, _, errno := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, clockThreadCPUTime, uintptr(unsafe.Pointer(&ts)), 0); errno != 0 {
		return 0, fmt.Errorf("this thread's CPU time: %w", errno)
	}
	return time.Duration(ts.Nano()), nil
}

// hold changes the ballast to n bytes. It is mapped directly, so that what is
// given back leaves the process at once and not when the collector comes by.
func (s *service) hold(n int) error {
	if s.ballast != nil {
		if err := syscall.Munmap(s.ballast); err != nil {
			return fmt.Errorf("give the ballast back: %w", err)
		}
		s.ballast = nil
	}
	if n == 0 {
		return nil
	}
	b, err := syscall.Mmap(-1, 0, n, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		return fmt.Errorf("ballast of %d bytes: %w", n, err)
	}
	for at := 0; at < n; at += os.Getpagesize() {
		b[at] = 1
	}
	s.ballast = b
	return nil
}
