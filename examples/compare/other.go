//go:build !linux

package main

import (
	"errors"
	"os"
	"time"
)

// Measuring a server needs epoll, and its CPU time and memory. Elsewhere only
// parse, encode and client run, by the time that has passed.

var errNeedsLinux = errors.New("measuring a server needs Linux")

type load struct {
	conns       []int
	subscribers []subscriber
	arrived     int
	timed       bool
	arrivals    []arrival
}

type arrival struct {
	number int
	nanos  int64
}

func newLoad() (*load, error) { return nil, errNeedsLinux }

func (l *load) connect(string, int, int) error { return errNeedsLinux }
func (l *load) request(int, string) error      { return errNeedsLinux }
func (l *load) read(time.Duration) error       { return errNeedsLinux }
func (l *load) Close()                         {}

func openStdin() (*os.File, error) { return os.Stdin, nil }

func cpuTime() (time.Duration, error) { return 0, errNeedsLinux }
func residentMemory() (int, error)    { return 0, errNeedsLinux }
