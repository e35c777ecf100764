package ssetest

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"time"
)

// Fault is a way in which a connection goes wrong.
type Fault int

const (
	// FaultNone leaves the connection alone from here on.
	FaultNone Fault = iota

	// FaultCut closes the connection on both sides, in order.
	FaultCut

	// FaultReset breaks the connection: both sides read ECONNRESET.
	FaultReset

	// FaultHalfClose ends what the client reads. The server does not notice
	// until the client closes; what it still sends is lost.
	FaultHalfClose

	// FaultStall lets nothing through from the server for a while.
	FaultStall

	// FaultTrickle lets through a few bytes from the server at a time.
	FaultTrickle

	// FaultDuplicate opens a second connection to the server, which gets all
	// that the client sends, and whose answers go nowhere: a client that
	// reconnected while its old connection still looks alive. It occurs only
	// when a connection is opened, and not with [Faults.Conn], which cannot
	// open one.
	FaultDuplicate

	// FaultGarbage answers the first bytes of the client by something that is
	// no response, or not all of one, and closes the connection. The server
	// gets the request. It occurs only when a connection is opened.
	FaultGarbage

	numFaults
)

var faultNames = [numFaults]string{"none", "cut", "reset", "half-close", "stall", "trickle", "duplicate", "garbage"}

// String returns the fault's name, for instance "half-close".
func (f Fault) String() string {
	if f < 0 || f >= numFaults {
		return fmt.Sprintf("Fault(%d)", int(f))
	}
	return faultNames[f]
}

// ends reports whether the connection is over after f.
func (f Fault) ends() bool {
	return f == FaultCut || f == FaultReset || f == FaultHalfClose || f == FaultGarbage
}

// opens reports whether f occurs only when a connection is opened.
func (f Fault) opens() bool { return f == FaultDuplicate || f == FaultGarbage }

// Injection is a [Fault] in its place.
type Injection struct {
	Fault  Fault
	At     int64         // bytes from the server that the client gets before
	Pause  time.Duration // of a stall, negative: without end; of a trickle, after each piece
	Pieces int           // of a trickle
	Bytes  int           // of a trickle, in each piece
	Data   string        // of garbage
}

// plan draws the faults of one connection.
type plan struct {
	*FaultOptions
	rand *rand.Rand
	n    int // drawn so far
	over bool

	at     int64 // of the last one drawn, or the end of its trickle
	placed bool  // one that does not open the connection was drawn
}

// Plan yields the faults that connection number n, counted from 1, gets in
// turn, as long as it lives. It depends on n and the options alone, and ends
// after a fault that ends the connection; it does not end if there is no such
// fault among the Kinds.
func (f *Faults) Plan(n int) iter.Seq[Injection] {
	return func(yield func(Injection) bool) {
		p := f.plan(n)
		for i, ok := p.next(); ok && yield(i); i, ok = p.next() {
		}
	}
}

func (f *Faults) plan(n int) *plan {
	return &plan{FaultOptions: &f.opts, rand: rand.New(rand.NewPCG(f.opts.Seed, uint64(n)))}
}

// next draws the next fault; false: there are no more.
func (p *plan) next() (Injection, bool) {
	var kinds []Fault
	for _, k := range p.Kinds {
		if p.n == 0 || !k.opens() {
			kinds = append(kinds, k)
		}
	}
	if p.over || len(kinds) == 0 {
		return Injection{}, false
	}
	i := Injection{Fault: kinds[p.rand.IntN(len(kinds))]}
	p.n++
	if p.over = i.Fault.ends() || i.Fault == FaultNone; i.Fault == FaultNone {
		return Injection{}, false
	}
	if !i.Fault.opens() {
		after := int64(p.MinBytes) + p.rand.Int64N(int64(p.MaxBytes-p.MinBytes)+1)
		if p.placed {
			after = max(after, 1) // or stalls at one byte would go on forever
		}
		p.at += after
		p.placed = true
	}
	i.At = p.at
	switch i.Fault {
	case FaultStall:
		if i.Pause = p.MaxPause; i.Pause > 0 {
			i.Pause = p.pause(p.MaxPause)
		}
	case FaultTrickle:
		i.Pieces = 1 + p.rand.IntN(maxPieces)
		i.Bytes = 1 + p.rand.IntN(8)
		i.Pause = DefaultMaxPause / maxPieces
		if p.MaxPause > 0 {
			i.Pause = p.pause(p.MaxPause / maxPieces)
		}
		p.at += int64(i.Pieces) * int64(i.Bytes)
	case FaultGarbage:
		i.Data = p.garbage()
	}
	return i, true
}

// maxPieces is how many pieces a trickle has at most.
const maxPieces = 16

// pause draws a time of at most d.
func (p *plan) pause(d time.Duration) time.Duration {
	return time.Duration(p.rand.Int64N(max(int64(d), 1)) + 1)
}

// garbage draws what no HTTP client takes for a response.
func (p *plan) garbage() string {
	switch p.rand.IntN(4) {
	case 0:
		return "HTTP/1.1 2oo OK\r\nContent-Type: text/event-stream\r\n\r\ndata: garbage\n\n"
	case 1:
		return "HTTP/1.1 200 OK\r\nContent-Type: text/event-str"
	case 2:
		return "data: garbage\n\n"
	}
	b := make([]byte, 1+p.rand.IntN(1000))
	for i := range b {
		b[i] = byte(p.rand.Uint32())
	}
	return string(b)
}
