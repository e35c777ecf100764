package client_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/fanfare-go/fanfare/client"
	"github.com/fanfare-go/fanfare/sse/ssetest"
)

func TestTheEndOfTheContextEndsTheIteration(t *testing.T) {
	reason := errors.New("no longer needed")
	// end ranges over the events and returns how many there were and the last
	// element's error. The context ends after 500 ms of fake time.
	end := func(t *testing.T, p *peer, opts client.Options) (n int, last error) {
		ctx, cancel := context.WithTimeoutCause(t.Context(), 500*time.Millisecond, reason)
		defer cancel()
		start := time.Now()
		for _, err := range p.client(opts).Events(ctx) {
			if last = err; err == nil {
				n++
			}
		}
		assert.Equal(t, 500*time.Millisecond, time.Since(start))
		synctest.Wait()
		return n, last
	}
	for _, protocol := range ssetest.Protocols {
		over := &ssetest.ServerOptions{Protocol: protocol}
		inBubble(t, fmt.Sprint(protocol, " before the response"), func(t *testing.T) {
			n, err := end(t, serveAt(t, over, silence), client.Options{})
			assert.Equal(t, 0, n)
			assert.Equal(t, reason, err)
		})
		over = &ssetest.ServerOptions{Protocol: protocol}
		inBubble(t, fmt.Sprint(protocol, " in the stream"), func(t *testing.T) {
			n, err := end(t, serveAt(t, over, open("data: 1\n\n")), client.Options{})
			assert.Equal(t, 1, n)
			assert.Equal(t, reason, err)
		})
	}
	inBubble(t, "in a wait", func(t *testing.T) {
		p := serve(t, status(503))
		prepared := 0
		n, err := end(t, p, client.Options{Prepare: func(*http.Request) error { prepared++; return nil }})
		assert.Equal(t, 1, prepared)
		assert.Equal(t, 0, n)
		assert.Equal(t, reason, err)
		assert.Len(t, p.asked(), 1)
	})
	inBubble(t, "in Prepare", func(t *testing.T) {
		p := serve(t)
		_, err := end(t, p, client.Options{Prepare: func(req *http.Request) error {
			<-req.Context().Done()
			return req.Context().Err()
		}})
		assert.Equal(t, reason, err)
		assert.Empty(t, p.asked())
	})
	inBubble(t, "while a refusal is read", func(t *testing.T) {
		_, err := end(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(404)
			http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}), client.Options{})
		assert.Equal(t, reason, err)
	})
	inBubble(t, "before it begins", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(reason)
		p := serve(t)
		var got []error
		for _, err := range p.client(client.Options{}).Events(ctx) {
			got = append(got, err)
		}
		assert.Equal(t, []error{reason}, got)
		assert.Empty(t, p.asked())
	})
	inBubble(t, "in OnRetry, without another request", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		defer cancel(nil)
		p := serve(t, whole("data: 1\n\n"))
		var got []error
		for _, err := range p.client(client.Options{OnRetry: func(error, time.Duration) { cancel(reason) }}).Events(ctx) {
			got = append(got, err)
		}
		assert.Equal(t, []error{nil, reason}, got)
		assert.Len(t, p.asked(), 1)
	})
	inBubble(t, "without the events that were received but not yet handed over", func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		defer cancel(nil)
		p := serve(t, whole("id: 1\ndata: 1\n\nid: 2\ndata: 2\n\nid: 3\ndata: 3\n\n"))
		var got []error
		c := p.client(client.Options{})
		for _, err := range c.Events(ctx) {
			got = append(got, err)
			cancel(reason)
		}
		assert.Equal(t, []error{nil, reason}, got)
		assert.Equal(t, "1", c.LastEventID())
	})
}

// A lateContext is a context of the user's own making: contexts that derive from
// it hear of its end from a goroutine, a moment later.
type lateContext struct {
	context.Context
	done chan struct{}
}

func (c lateContext) Done() <-chan struct{} { return c.done }

func (c lateContext) Err() error {
	select {
	case <-c.done:
		return context.Canceled
	default:
		return nil
	}
}

func TestOnceTheContextHasEndedNothingIsYielded(t *testing.T) {
	for range 20 {
		synctest.Test(t, func(t *testing.T) {
			p := serve(t, whole(strings.Repeat("data\n\n", 1000)))
			ctx := lateContext{t.Context(), make(chan struct{})}
			n := 0
			for _, err := range p.client(client.Options{}).Events(ctx) {
				if err != nil {
					assert.Equal(t, context.Canceled, err)
					continue
				}
				if n++; n == 1 {
					close(ctx.done)
				}
			}
			assert.Equal(t, 1, n)
		})
	}
}

// A stuck is a connection on which writing blocks from the moment that hold is
// closed until release is.
type stuck struct {
	net.Conn
	hold, release chan struct{} // closed by the test
}

func (s *stuck) Write(p []byte) (int, error) {
	select {
	case <-s.hold:
		<-s.release
	default:
	}
	return s.Conn.Write(p)
}

func TestLeavingTheLoopDoesNotWaitForTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := serveAt(t, &ssetest.ServerOptions{Protocol: ssetest.H2C}, open("data: 1\n\n"))
		hold, release := make(chan struct{}), make(chan struct{})
		transport := p.NewTransport()
		dial := transport.DialContext
		transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := dial(ctx, network, address)
			return &stuck{conn, hold, release}, err
		}
		for range p.client(client.Options{HTTPClient: &http.Client{Transport: transport}}).Events(t.Context()) {
			synctest.Wait() // so that what HTTP/2 has to write about the event is written
			close(hold)
			break
		}
		close(release)
	})
}
