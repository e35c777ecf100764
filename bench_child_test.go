package fanfare_test

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"sync"
	"testing"
	"time"

	"github.com/fanfare-go/fanfare/broker"
)

// childArg is the only argument of a test binary that is to be a child.
const childArg = "fanfare-benchmark-child"

// An order is what a child is asked to do, a line of JSON on its standard
// input. A reply follows on its standard output when that is done.
type order struct {
	Do string

	// Of "connect": the subscribers that are added, and what they are to get.
	Subscribers int    `json:",omitempty"`
	Addr        string `json:",omitempty"`
	Cursor      string `json:",omitempty"` // their Last-Event-ID, if any
	Next        string `json:",omitempty"` // the ID of the next event
	Size        int    `json:",omitempty"` // bytes of data of each event
	Mute        bool   `json:",omitempty"` // they read nothing but the header
	Timed       bool   `json:",omitempty"` // the times of arrival are wanted

	// Of "serve", with Size: the option.
	Detach bool `json:",omitempty"`

	// Of "await" and "publish": so many more events.
	Events int `json:",omitempty"`
}

type reply struct {
	Error string `json:",omitempty"`

	Addr     string    `json:",omitempty"` // of "serve"
	Arrivals [][]int64 `json:",omitempty"` // of "arrivals": when each timed subscriber got each event, in ns of the wall clock
	Memory   memory    `json:",omitzero"`  // of "memory"
}

// memory is what a process uses after a collection, in bytes.
type memory struct {
	Live     int // heap and stacks
	Resident int // pages in memory; 0 if unknown
}

// child obeys orders until its standard input ends, as it does at the latest
// when the parent is gone.
func child(in io.Reader, out io.Writer) {
	f := newFleet()
	defer func() { f.hangUp() }()
	var p *publisher
	obey := func(o order) (r reply, err error) {
		switch o.Do {
		case "connect":
			err = f.connect(o)
		case "await":
			err = f.await(o.Events)
		case "arrivals":
			r.Arrivals = f.arrivals()
		case "hang up":
			f.hangUp()
			f = newFleet()
		case "serve":
			br := broker.New(&broker.Options{Detach: o.Detach})
			p = newPublisher(br, o.Size)
			_, r.Addr, err = listen(br)
		case "publish":
			err = p.publish(o.Events)
		case "memory":
			r.Memory = measure()
		default:
			err = fmt.Errorf("unknown order %q", o.Do)
		}
		return r, err
	}
	orders, replies := json.NewDecoder(in), json.NewEncoder(out)
	for {
		var o order
		if err := orders.Decode(&o); err != nil {
			return
		}
		r, err := obey(o)
		if err != nil {
			r.Error = fmt.Sprintf("%s: %v", o.Do, err)
		}
		if err := replies.Encode(r); err != nil {
			return
		}
	}
}

// measure returns what this process uses.
func measure() (m memory) {
	debug.FreeOSMemory() // collects first
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	m.Live = int(s.HeapInuse + s.StackInuse)
	if text, err := os.ReadFile("/proc/self/statm"); err == nil {
		var size, resident int
		if _, err := fmt.Sscan(string(text), &size, &resident); err == nil {
			m.Resident = resident * os.Getpagesize()
		}
	}
	return m
}

// A process is a child of this one, which ends with the benchmark.
type process struct {
	b       *testing.B
	orders  *json.Encoder
	replies *json.Decoder
	end     func() // ends the child and waits for it; may be called again
}

func startChild(b *testing.B) *process {
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(self, childArg)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	end := sync.OnceFunc(func() {
		in.Close() // which ends it, unless it hangs
		hangs := time.AfterFunc(10*time.Second, func() { cmd.Process.Kill() })
		defer hangs.Stop()
		if err := cmd.Wait(); err != nil {
			b.Error(err)
		}
	})
	b.Cleanup(end)
	return &process{b: b, orders: json.NewEncoder(in), replies: json.NewDecoder(out), end: end}
}

// do gives an order and waits until it is carried out.
func (p *process) do(o order) reply {
	p.tell(o)
	return p.reply()
}

// tell gives an order.
func (p *process) tell(o order) {
	if err := p.orders.Encode(o); err != nil {
		p.b.Fatal(err)
	}
}

// reply waits until the order is carried out.
func (p *process) reply() (r reply) {
	if err := p.replies.Decode(&r); err != nil {
		p.b.Fatal("the child process has ended: ", err)
	}
	if r.Error != "" {
		p.b.Fatal(r.Error)
	}
	return r
}
