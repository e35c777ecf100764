package ssetest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// DefaultMaxPause is how long a stall or a trickle lasts at most unless
// [FaultOptions.MaxPause] says otherwise.
const DefaultMaxPause = time.Second

const mostBytes = 1 << 30 // of MinBytes and MaxBytes

// SeedVariable is the environment variable that gives the seed of [Faults]
// whose options have none: it repeats a failed test.
const SeedVariable = "SSETEST_SEED"

// FaultOptions configures [Faults]. A nil *FaultOptions is all defaults.
type FaultOptions struct {
	// Seed chooses the faults. 0 is the environment's SSETEST_SEED or, if
	// that is not set, a random seed. [Faults.Seed] returns it, and a test that
	// fails prints it.
	Seed uint64

	// Kinds is what each fault is drawn from; a kind listed twice is twice as
	// likely. With FaultNone among them connections get away. Nil is every
	// kind but FaultNone, once; empty is no faults but those of CutAll.
	Kinds []Fault

	// MinBytes and MaxBytes say how many of the server's bytes pass before a
	// connection's first fault, and (but at least 1) between one and the next:
	// any number from MinBytes to MaxBytes is as likely. They count the bytes
	// of the connection, with all headers, and TLS if there is. A MaxBytes of 0
	// is 16 KiB, a negative one 0; it is raised to MinBytes if it is less. A
	// negative MinBytes is 0. What is more than 1 GiB is 1 GiB.
	//
	// A client that resumes gets on only if an event can pass: MaxBytes must be
	// more than header and event together or, with TLS, more than the handshake
	// (1 to 2 KiB) and what the server writes at once, up to 16 KiB.
	MinBytes, MaxBytes int

	// MaxPause is how long a stall lasts at most, and a trickle as a whole. 0
	// is [DefaultMaxPause]. If negative, stalls do not end before the client
	// goes.
	MaxPause time.Duration
}

// Faults breaks connections, in ways that a seed chooses: the same seed and
// options give the connection of the same number the same faults, see
// [Faults.Plan]. Connections are numbered as they are opened, so that a test
// whose clients connect at the same time repeats each connection's faults but
// maybe not who gets them.
//
// It sits on connections of any kind: use its Dialer in a client, its Listener
// in a server, or a Proxy between the two. Each of them forwards the bytes in
// both directions, unchanged, until a fault is due. Faults count the bytes from
// the server to the client.
//
// All methods may be called concurrently.
type Faults struct {
	opts   FaultOptions
	ctx    context.Context // of dialling; ends by Close
	cancel context.CancelFunc
	work   sync.WaitGroup // goroutines of relays and proxies; Add with mu held and closed false

	mu          sync.Mutex // guards all below
	closed      bool
	connections int
	counts      [numFaults]int
	relays      map[*relay]struct{} // that live
	fronts      map[net.Listener]struct{}
}

// NewFaults returns a Faults that is closed when the test ends; if the test
// failed, it then logs the seed and what was injected.
func NewFaults(t testing.TB, opts *FaultOptions) *Faults {
	f := &Faults{relays: make(map[*relay]struct{}), fronts: make(map[net.Listener]struct{})}
	if opts != nil {
		f.opts = *opts
	}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	o := &f.opts
	if o.Seed == 0 {
		o.Seed = newSeed(os.Getenv(SeedVariable))
	}
	if o.Kinds = slices.Clone(o.Kinds); o.Kinds == nil {
		for k := FaultNone + 1; k < numFaults; k++ {
			o.Kinds = append(o.Kinds, k)
		}
	}
	for _, k := range o.Kinds {
		if k < 0 || k >= numFaults {
			panic(fmt.Sprintf("ssetest: NewFaults: there is no %v", k))
		}
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = 16 << 10
	}
	o.MinBytes = min(max(o.MinBytes, 0), mostBytes)
	o.MaxBytes = min(max(o.MaxBytes, o.MinBytes), mostBytes)
	if o.MaxPause == 0 {
		o.MaxPause = DefaultMaxPause
	}
	if t != nil {
		t.Cleanup(func() {
			f.Close()
			if t.Failed() {
				t.Logf("ssetest: %v; %s=%d repeats them", f, SeedVariable, f.Seed())
			}
		})
	}
	return f
}

func newSeed(variable string) uint64 {
	if variable == "" {
		return 1 + rand.Uint64N(1<<32) // short enough to be copied by hand
	}
	seed, err := strconv.ParseUint(variable, 10, 64)
	if err != nil {
		panic(fmt.Sprintf("ssetest: %s: %v", SeedVariable, err))
	}
	return seed
}

// Seed returns the seed of the faults.
func (f *Faults) Seed() uint64 { return f.opts.Seed }

// Count returns how many faults of the given kinds have been injected so far;
// without kinds, of all.
func (f *Faults) Count(kinds ...Fault) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for k, c := range f.counts {
		if len(kinds) == 0 || slices.Contains(kinds, Fault(k)) {
			n += c
		}
	}
	return n
}

// Connections returns how many connections have been opened so far.
func (f *Faults) Connections() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.connections
}

// String says what has been injected so far, for instance "faults of seed 42:
// 3 connections, 2 cut, 1 stall".
func (f *Faults) String() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var b strings.Builder
	fmt.Fprintf(&b, "faults of seed %d: %d connections", f.opts.Seed, f.connections)
	for k, n := range f.counts {
		if n > 0 {
			fmt.Fprintf(&b, ", %d %v", n, Fault(k))
		}
	}
	return b.String()
}

// CutAll cuts every connection that is open, whatever its plan, and returns
// how many those were. They count as FaultCut. One that a fault has half closed
// is closed as well, and does not count again.
func (f *Faults) CutAll() int {
	n := 0
	for _, r := range f.open() {
		switch {
		case r.end(FaultCut):
			n++
		case r.deaf.Load():
			r.close()
		}
	}
	return n
}

// Close closes every connection and everything that listens, and returns when
// no goroutine is left. Closing again does nothing.
func (f *Faults) Close() {
	f.mu.Lock()
	f.closed = true
	var fronts []net.Listener
	for l := range f.fronts {
		fronts = append(fronts, l)
	}
	f.mu.Unlock()
	f.cancel()
	for _, l := range fronts {
		l.Close()
	}
	for _, r := range f.open() {
		r.close()
	}
	f.work.Wait()
}

// open returns the relays that live.
func (f *Faults) open() []*relay {
	f.mu.Lock()
	defer f.mu.Unlock()
	var rs []*relay
	for r := range f.relays {
		rs = append(rs, r)
	}
	return rs
}
