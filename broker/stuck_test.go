package broker_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"runtime/metrics"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/sse"
	"github.com/fanfare-go/fanfare/sse/ssetest"
)

// loopback serves h on a socket.
func loopback(t *testing.T, h http.Handler) *ssetest.Server {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return ssetest.Serve(t, h, &ssetest.ServerOptions{Listener: shortListener{l}})
}

// A shortListener accepts connections that hold little: the kernel would hold
// megabytes for a client that does not read, and hide it for so long.
type shortListener struct{ net.Listener }

func (l shortListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		err = c.(*net.TCPConn).SetWriteBuffer(4 << 10)
	}
	return c, err
}

// dialShort dials a connection that holds little at this end, too.
func dialShort(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, network, address)
	if err == nil {
		err = c.(*net.TCPConn).SetReadBuffer(4 << 10)
	}
	return c, err
}

// liveHeap returns what the last garbage collection left.
func liveHeap() int {
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(sample)
	return int(sample[0].Value.Uint64())
}

// collected returns what is left once all garbage is collected.
func collected() int {
	runtime.GC()
	runtime.GC() // what pools hold goes with the second
	return liveHeap()
}

// numbered is an event that begins with its number and has 1 KiB of data.
func numbered(n int) sse.Event {
	s := strconv.Itoa(n)
	return sse.Event{Data: s + strings.Repeat(" ", 1<<10-len(s))}
}

// count reads numbered events from 0 on. It does it by hand, because what a
// Decoder allocates would stand in the way of what the Broker does.
func count(stream io.Reader, events int) error {
	lines := bufio.NewReaderSize(stream, 4<<10)
	var want []byte
	for next := 0; next < events; {
		line, err := lines.ReadSlice('\n')
		if err != nil {
			return fmt.Errorf("event %d: %w", next, err)
		}
		if data, ok := bytes.CutPrefix(line, []byte("data: ")); ok {
			want = append(strconv.AppendInt(want[:0], int64(next), 10), ' ')
			if !bytes.HasPrefix(data, want) {
				return fmt.Errorf("event %d is %.20q", next, data)
			}
			next++
		}
	}
	return nil
}

// A crowd is what fanOut saw.
type crowd struct {
	publishing time.Duration
	peak       int // of the heap, with the history
}

// fanOut publishes events to healthy subscribers over HTTP, beside others that
// never read, and returns when all the healthy have got all.
func fanOut(t *testing.T, healthy, stuck, events int) (c crowd) {
	b := newBroker(t, &broker.Options{
		Store:        broker.NewMemoryStore(&broker.MemoryOptions{MaxEvents: -1, MaxBytes: -1}),
		WriteTimeout: time.Minute, // they are to be a burden all the time
	})
	srv := loopback(t, b)
	for range stuck {
		conn, err := dialShort(t.Context(), "tcp", strings.TrimPrefix(srv.URL, "http://"))
		require.NoError(t, err)
		defer conn.Close()
		_, err = fmt.Fprintf(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		require.NoError(t, err)
	}
	var reading sync.WaitGroup
	var complete atomic.Int64
	for range healthy {
		resp, err := srv.Client().Get(srv.URL)
		require.NoError(t, err)
		reading.Go(func() {
			defer resp.Body.Close()
			if err := count(resp.Body, events); err != nil {
				t.Error(err)
				return
			}
			complete.Add(1)
		})
	}
	require.Eventually(t, func() bool { return b.Stats().Subscribers == healthy+stuck }, time.Minute, time.Millisecond)

	done := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(time.Millisecond):
				c.peak = max(c.peak, liveHeap())
			}
		}
	})
	start := time.Now()
	for i := range events {
		_, err := b.Publish(t.Context(), numbered(i))
		require.NoError(t, err)
	}
	c.publishing = time.Since(start)
	reading.Wait()
	close(done)
	watching.Wait()
	require.Equal(t, int64(healthy), complete.Load())
	assert.GreaterOrEqual(t, b.Stats().Subscribers, stuck, "a burden to the end")
	if stuck > 0 {
		assert.Less(t, b.Stats().Delivered, uint64((healthy+stuck/2)*events), "and stuck")
	}
	c.peak = max(c.peak, collected())
	return c
}

func TestSubscribersThatNeverReadAreNoBurden(t *testing.T) {
	events := 4_000
	if *soak > 0 {
		events = 30_000
	}
	before := collected()
	store := broker.NewMemoryStore(&broker.MemoryOptions{MaxEvents: -1, MaxBytes: -1})
	for i := range events {
		_, err := store.Append(t.Context(), numbered(i), []string{""})
		require.NoError(t, err)
	}
	limit := collected() + 16<<20
	runtime.KeepAlive(store)
	store = nil

	// The machine may be busy with other things, so the best of a few counts.
	const tries = 5
	without, with := time.Hour, time.Hour
	for try := 1; ; try++ {
		var alone, c crowd
		t.Run("without", func(t *testing.T) { alone = fanOut(t, 50, 0, events) }) // and its history goes
		t.Run("with", func(t *testing.T) { c = fanOut(t, 50, 5, events) })
		without, with = min(without, alone.publishing), min(with, c.publishing)
		t.Logf("publishing took %v without, and %v with them; the heap had %d KiB at most, and %d KiB with the history alone",
			alone.publishing, c.publishing, (c.peak-before)>>10, (limit-before-16<<20)>>10)
		assert.Less(t, c.peak, limit)
		if with < 3*without || try == tries {
			break
		}
	}
	assert.Less(t, with, 3*without)
}
