package client_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/stretchr/testify/assert"

	"github.com/fanfare-go/fanfare/client"
	"github.com/fanfare-go/fanfare/sse/ssetest"
)

// ends ranges over all events of c and reports whether that ends within d.
func ends(ctx context.Context, c *client.Client, d time.Duration) bool {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range c.Events(ctx) {
		}
	}()
	select {
	case <-done:
		return true
	case <-time.After(d):
		return false
	}
}

func TestAConnectionThatTheServerSwitchesToAnotherProtocolIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const upgrade = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"
		hc, _ := raw(t, upgrade, "\x00", 10*time.Minute) // silent for so long
		assert.True(t, ends(t.Context(), client.New("http://sse.test:80/", &client.Options{HTTPClient: hc}), time.Minute))
	})
}

// A tripper is an http.RoundTripper.
type tripper func(*http.Request) (*http.Response, error)

func (f tripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

func TestABodyThatKnowsNothingOfTheContextIsLeft(t *testing.T) {
	for _, status := range []int{http.StatusOK, http.StatusServiceUnavailable} {
		for _, idle := range []time.Duration{0, time.Second} {
			synctest.Test(t, func(t *testing.T) {
				attempts := 0
				hc := &http.Client{Transport: tripper(func(req *http.Request) (*http.Response, error) {
					attempts++
					body, _ := io.Pipe() // which nobody writes to
					h := http.Header{"Content-Type": {"text/event-stream"}}
					return &http.Response{StatusCode: status, Header: h, Body: body, Request: req}, nil
				})}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				c := client.New("http://sse.test/", &client.Options{HTTPClient: hc, IdleTimeout: idle})
				assert.True(t, ends(ctx, c, 2*time.Minute), "%d", status)
				if idle > 0 {
					assert.Greater(t, attempts, 1, "%d", status)
				}
			})
		}
	}
}

// A lossy is a connection on which, once it is dead, what is written is lost.
type lossy struct {
	net.Conn
	dead atomic.Bool
}

func (l *lossy) Write(p []byte) (int, error) {
	if l.dead.Load() {
		return len(p), nil
	}
	return l.Conn.Write(p)
}

// lossyTransport returns a Transport to p, and a function that lets all
// connections of it die that are open.
func lossyTransport(p *peer) (_ *http.Transport, die func()) {
	transport := p.NewTransport()
	dial := transport.DialContext
	var mu sync.Mutex // guards conns
	var conns []*lossy
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		l := &lossy{Conn: conn}
		mu.Lock()
		defer mu.Unlock()
		conns = append(conns, l)
		return l, err
	}
	return transport, func() {
		mu.Lock()
		defer mu.Unlock()
		for _, l := range conns {
			l.dead.Store(true)
		}
	}
}

func TestAnHTTP2ConnectionThatIsSilentIsNotUsedAgain(t *testing.T) {
	for _, clients := range []int{1, 5} {
		synctest.Test(t, func(t *testing.T) {
			p := serveAt(t, &ssetest.ServerOptions{Protocol: ssetest.H2C}, slices.Repeat([]http.HandlerFunc{open("data: 1\n\n")}, 2*clients)...)
			transport, die := lossyTransport(p)
			defer transport.CloseIdleConnections()
			start := time.Now()
			var wg sync.WaitGroup
			for range clients {
				wg.Go(func() {
					c := p.client(client.Options{IdleTimeout: 45 * time.Second, HTTPClient: &http.Client{Transport: transport}})
					ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
					defer cancel()
					n := 0
					for range c.Events(ctx) {
						if n++; n == 2 {
							break
						}
					}
					assert.Equal(t, 2, n)
				})
			}
			synctest.Wait()
			die()
			wg.Wait()
			assert.Less(t, time.Since(start), 2*time.Minute, "%d clients", clients)
		})
	}
}

func TestReconnectLeavesAnHTTP2ConnectionTheSecondTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := serveAt(t, &ssetest.ServerOptions{Protocol: ssetest.H2C}, open("data: 1\n\n"), open("data: 2\n\n"), open("data: 3\n\n"))
		transport := p.NewTransport()
		dial, dials := transport.DialContext, new(atomic.Int32)
		transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			dials.Add(1)
			return dial(ctx, network, address)
		}
		c, n := p.client(client.Options{HTTPClient: &http.Client{Transport: transport}}), 0
		for range c.Events(t.Context()) {
			if n++; n == 3 {
				break
			}
			c.Reconnect()
		}
		assert.Equal(t, 3, n)
		assert.EqualValues(t, 2, dials.Load())
	})
}

func TestLeavingTheLoopDoesNotWaitForTheServerWithMoreToRead(t *testing.T) {
	for _, how := range []string{"break", "the end of ctx"} {
		t.Run(how, func(t *testing.T) {
			p := serveAt(t, &ssetest.ServerOptions{Protocol: ssetest.H2C}, open(strings.Repeat("data: 1\n\n", 10_000)))
			hold, release := make(chan struct{}), make(chan struct{})
			transport := p.NewTransport()
			dial := transport.DialContext
			transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
				conn, err := dial(ctx, network, address)
				return &stuck{conn, hold, release}, err
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := make(chan struct{})
			go func() {
				defer close(done)
				n := 0
				for range p.client(client.Options{HTTPClient: &http.Client{Transport: transport}}).Events(ctx) {
					if n++; n > 1 {
						continue
					}
					time.Sleep(200 * time.Millisecond) // until more has come than was read
					close(hold)
					switch how {
					case "break":
						return
					case "the end of ctx":
						cancel()
					}
				}
			}()
			select {
			case <-done:
			case <-time.After(3 * time.Second):
				t.Error("the loop does not end")
			}
			close(release)
			<-done
		})
	}
}

// heap returns how many bytes are in use.
func heap() int {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

func TestNothingOfALoopOutlivesIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := serve(t, whole("data: "+strings.Repeat("x", 8<<20)+"\n\n"))
		c := p.client(client.Options{})
		var captured weak.Pointer[[1 << 20]byte]
		func() {
			big := new([1 << 20]byte)
			captured = weak.Make(big)
			for range c.Events(t.Context()) {
				big[0]++
				break
			}
		}()
		with := heap()
		assert.Nil(t, captured.Value(), "what the loop used")
		_ = c.LastEventID() // c is still in use
		c = nil
		assert.Less(t, with-heap(), 1<<20, "what the Client keeps")
	})
}

func TestOnCommentSeesTheIDOfTheBlockBeforeIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := serve(t, open("id: 1\ndata: 1\n\nid: 2\n\n: now\n\nid: 3\ndata: 3\n\n"))
		var c *client.Client
		c = p.client(client.Options{OnComment: func(string) {
			assert.Equal(t, "2", c.LastEventID())
			c.Reconnect()
		}})
		for range c.Events(t.Context()) {
		}
		assert.Equal(t, []string{"[]", "[2]"}, p.lastEventIDs())
	})
}
