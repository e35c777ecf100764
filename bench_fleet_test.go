package fanfare_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/sse"
)

// dialing is how many connections are opened at the same time: fewer than any
// system's queue of those that wait to be accepted.
const dialing = 100

// A fleet is subscribers over HTTP/1.1, with a goroutine for each. They check
// and count what they read, and do as little as possible besides, for they
// compete with the server for the machine. Its methods are for one goroutine.
type fleet struct {
	count, want atomic.Int64  // events that all have got, and that are awaited
	reached     chan struct{} // sent to when count is want; nobody closes it
	failed      chan error    // the first failure; nobody closes it

	ctx    context.Context // ends with hangUp
	cancel context.CancelFunc
	wg     sync.WaitGroup // the goroutines of the subscribers
	timed  []*subscriber
}

func newFleet() *fleet {
	f := &fleet{reached: make(chan struct{}, 1), failed: make(chan error, 1)}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	return f
}

// connect adds subscribers, and returns when the streams of all are open.
func (f *fleet) connect(o order) error {
	opened := make(chan error, o.Subscribers)
	dial := make(chan struct{}, dialing)
	for range o.Subscribers {
		s := &subscriber{timed: o.Timed}
		if s.timed {
			f.timed = append(f.timed, s)
		}
		f.wg.Go(func() {
			dial <- struct{}{}
			err := s.open(f.ctx, o)
			<-dial
			if opened <- err; err != nil {
				return
			}
			defer context.AfterFunc(f.ctx, func() { s.conn.Close() })()
			if o.Mute {
				<-f.ctx.Done()
				return
			}
			if err := s.read(f); f.ctx.Err() == nil {
				select {
				case f.failed <- err:
				default:
				}
			}
		})
	}
	for range o.Subscribers {
		if err := <-opened; err != nil {
			return err
		}
	}
	return nil
}

// await waits until the subscribers have got so many more events, together.
func (f *fleet) await(events int) error {
	want := f.want.Add(int64(events))
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	// Whichever is the later of setting want and of getting the last event
	// sees the other.
	for f.count.Load() < want {
		select {
		case <-f.reached:
		case err := <-f.failed:
			return err
		case <-timeout.C:
			return fmt.Errorf("%d of %d events have not arrived", want-f.count.Load(), want)
		}
	}
	return nil
}

// arrived counts events.
func (f *fleet) arrived(events int) {
	if f.count.Add(int64(events)) == f.want.Load() {
		select {
		case f.reached <- struct{}{}:
		default:
		}
	}
}

// arrivals returns when the timed subscribers got their events, all of which
// have been awaited.
func (f *fleet) arrivals() (all [][]int64) {
	for _, s := range f.timed {
		all = append(all, s.arrivals)
	}
	return all
}

// hangUp closes all connections, and is the end of the fleet.
func (f *fleet) hangUp() {
	f.cancel()
	f.wg.Wait()
}

// A subscriber is one stream. Its goroutine owns it.
type subscriber struct {
	conn     *net.TCPConn
	body     io.Reader
	next     []byte // the encoding of the next event
	timed    bool
	arrivals []int64 // if timed
}

// open sends the request and reads the response up to the first event.
func (s *subscriber) open(ctx context.Context, o order) error {
	ev := sse.Event{ID: o.Next, Data: strings.Repeat("x", o.Size)}
	next, err := ev.AppendTo(nil)
	if err != nil {
		return err
	}
	s.next = next
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", o.Addr)
	if err != nil {
		return err
	}
	s.conn = conn.(*net.TCPConn)
	s.conn.SetLinger(0) // or thousands of ports would be held for a minute
	size := 8 << 10
	if o.Mute {
		size = 1 << 10
		s.conn.SetReadBuffer(4 << 10)
	}
	err = s.request(o, bufio.NewReaderSize(s.conn, size))
	if err != nil {
		s.conn.Close()
	}
	return err
}

func (s *subscriber) request(o order, r *bufio.Reader) error {
	head := "GET / HTTP/1.1\r\nHost: " + o.Addr + "\r\nAccept: " + sse.MediaType + "\r\n"
	if o.Cursor != "" {
		head += "Last-Event-ID: " + o.Cursor + "\r\n"
	}
	if _, err := io.WriteString(s.conn, head+"\r\n"); err != nil {
		return err
	}
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != sse.MediaType {
		return fmt.Errorf("%s with Content-Type %q", resp.Status, resp.Header.Get("Content-Type"))
	}
	s.body = resp.Body
	if o.Cursor != "" || o.Mute {
		return nil
	}
	// Who comes without a cursor gets one, in a block of its own.
	var block []byte
	for b := make([]byte, 1); !bytes.HasSuffix(block, []byte("\n\n")); block = append(block, b...) {
		if _, err := io.ReadFull(s.body, b); err != nil {
			return err
		}
	}
	if !bytes.HasPrefix(block, []byte("id: ")) {
		return fmt.Errorf("got %q instead of a first ID", block)
	}
	return nil
}

// read reads events until that fails.
func (s *subscriber) read(f *fleet) error {
	buf := make([]byte, max(8<<10, 2*len(s.next)))
	for kept := 0; ; {
		n, err := s.body.Read(buf[kept:])
		if err != nil {
			return fmt.Errorf("the stream has ended: %w", err)
		}
		events, rest, err := s.take(buf[:kept+n])
		if err != nil {
			return err
		}
		kept = copy(buf, rest)
		if s.timed {
			now := time.Now().UnixNano()
			for range events {
				s.arrivals = append(s.arrivals, now)
			}
		}
		f.arrived(events)
	}
}

// take returns how many events p begins with, each the next one as it was
// published, and the rest, which is the beginning of one.
func (s *subscriber) take(p []byte) (events int, rest []byte, err error) {
	for ; len(p) >= len(s.next); p = p[len(s.next):] {
		if !bytes.Equal(p[:len(s.next)], s.next) {
			return 0, nil, fmt.Errorf("got %.100q instead of %.100q", p, s.next)
		}
		(*serial)(s.next[len("id: "):]).next()
		events++
	}
	return events, p, nil
}

func TestALostRepeatedOrChangedEventStopsASubscriber(t *testing.T) {
	encode := func(serials ...string) (stream []byte) {
		for _, id := range serials {
			stream, _ = sse.Event{ID: id, Data: "xx"}.AppendTo(stream)
		}
		return stream
	}
	const eight, nine, ten, eleven = "000000000008", "000000000009", "000000000010", "000000000011"
	good := encode(eight, nine, ten)
	for name, stream := range map[string][]byte{
		"lost":     encode(eight, ten, eleven),
		"repeated": encode(eight, nine, nine),
		"changed":  bytes.Replace(good, []byte("xx"), []byte("xy"), 1),
		"gap":      slices.Concat(encode(eight), []byte("event: gap\ndata: \n\n"), encode(nine, ten)),
	} {
		s := &subscriber{next: encode(eight)}
		_, _, err := s.take(stream)
		assert.Error(t, err, name)
	}
	s := &subscriber{next: encode(eight)}
	events, rest, err := s.take(good[:len(good)-1])
	require.NoError(t, err)
	assert.Equal(t, 2, events)
	assert.Equal(t, encode(ten)[:len(encode(ten))-1], rest, "the beginning of the next")
}
