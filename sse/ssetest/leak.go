package ssetest

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"testing"
	"time"
)

// leakGrace is how long goroutines have to end once the tests are done.
const leakGrace = 5 * time.Second

// Main runs a package's tests and ends the process, with a failure if a test
// failed or if goroutines are left that were not there before. Their stacks
// are printed. Those that are about to end get a few seconds, and idle
// connections of [http.DefaultTransport] are closed.
//
//	func TestMain(m *testing.M) { ssetest.Main(m) }
func Main(m *testing.M) {
	os.Exit(CheckLeaks(m))
}

// CheckLeaks is Main for a TestMain that has more to do: it returns the code
// to exit with.
func CheckLeaks(m *testing.M) int {
	return checkLeaks(m.Run, os.Stderr, leakGrace)
}

func checkLeaks(run func() int, w io.Writer, grace time.Duration) int {
	before := make(map[string]bool)
	for id := range goroutines() {
		before[id] = true
	}
	code := run()
	if code != 0 {
		return code // what a failed test left behind is no news
	}
	if t, ok := http.DefaultTransport.(*http.Transport); ok {
		t.CloseIdleConnections()
	}
	var left [][]byte
	for wait := time.Millisecond; ; wait *= 2 {
		left = left[:0]
		for id, stack := range goroutines() {
			if !before[id] && !ofRuntime(stack) {
				left = append(left, stack)
			}
		}
		if len(left) == 0 {
			return code
		}
		if grace <= 0 {
			break
		}
		wait = min(wait, grace)
		grace -= wait
		time.Sleep(wait)
	}
	fmt.Fprintf(w, "ssetest: the tests left %d goroutines behind:\n\n%s\n", len(left), bytes.Join(left, []byte("\n\n")))
	return 1
}

// goroutines returns the stack of every goroutine but the caller's by its ID.
func goroutines() map[string][]byte {
	buf := make([]byte, 1<<16)
	for {
		if n := runtime.Stack(buf, true); n < len(buf) {
			buf = buf[:n]
			break
		}
		buf = make([]byte, 2*len(buf))
	}
	stacks := make(map[string][]byte)
	for i, stack := range bytes.Split(bytes.TrimSpace(buf), []byte("\n\n")) {
		if i == 0 {
			continue // the caller's
		}
		// The first line is "goroutine 12 [chan receive, 3 minutes]:".
		id, _, _ := bytes.Cut(bytes.TrimPrefix(stack, []byte("goroutine ")), []byte(" "))
		stacks[string(id)] = stack
	}
	return stacks
}

// ofRuntime reports whether stack is of a goroutine that the standard library
// starts once and never ends.
func ofRuntime(stack []byte) bool {
	return bytes.Contains(stack, []byte("created by os/signal."))
}
