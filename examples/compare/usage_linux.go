package main

import (
	"bufio"
	"errors"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// cpuTime returns the user and system time that this process has used.
func cpuTime() (time.Duration, error) {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0, err
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), nil
}

// openStdin returns the standard input for reading in the way of a socket, whose
// reader waits without a thread. Otherwise the publisher would keep a thread, and
// the runtime's right to run something on a core, in its read for a while after
// each event: a server would be measured that has one core less, or has not, as it
// happens.
func openStdin() (*os.File, error) {
	if err := syscall.SetNonblock(0, true); err != nil {
		return nil, err
	}
	return os.NewFile(0, "stdin"), nil
}

// residentMemory returns the resident set of this process in bytes.
// /proc/self/statm would be cheaper but is only kept up to date per CPU.
func residentMemory() (int, error) {
	f, err := os.Open("/proc/self/smaps_rollup")
	if err != nil {
		return 0, err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if kib, ok := strings.CutPrefix(lines.Text(), "Rss:"); ok {
			n, err := strconv.Atoi(strings.TrimSpace(strings.TrimSuffix(kib, "kB")))
			return n << 10, err
		}
	}
	return 0, errors.New("compare: smaps_rollup has no Rss")
}
