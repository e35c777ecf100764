package client_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/fanfare-go/fanfare/client"
	"github.com/fanfare-go/fanfare/sse"
	"github.com/fanfare-go/fanfare/sse/ssetest"
)

func TestASilentConnectionCountsAsLost(t *testing.T) {
	const idle = 5 * time.Second
	s := time.Second
	// run returns when the requests came, less the waits, and how the attempts ended.
	run := func(t *testing.T, p *peer, opts client.Options) (at []time.Duration, ends []error) {
		var waited time.Duration
		opts.IdleTimeout = idle
		opts.OnRetry = func(err error, delay time.Duration) {
			ends = append(ends, err)
			at = append(at, time.Since(p.started)-waited)
			waited += delay
		}
		for _, err := range p.client(opts).Events(t.Context()) {
			assert.NoError(t, err)
		}
		return at, ends
	}
	inBubble(t, "before the header of the response", func(t *testing.T) {
		at, ends := run(t, serve(t, silence), client.Options{})
		assert.Equal(t, []time.Duration{5 * s}, at)
		assert.Equal(t, []error{client.ErrIdle}, ends)
	})
	inBubble(t, "while connecting", func(t *testing.T) {
		p := serve(t)
		transport := p.NewTransport()
		dial, dials := transport.DialContext, new(atomic.Int32)
		transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			if dials.Add(1) == 1 {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return dial(ctx, network, address)
		}
		at, ends := run(t, p, client.Options{HTTPClient: &http.Client{Transport: transport}})
		assert.Equal(t, []time.Duration{5 * s}, at)
		assert.Equal(t, []error{client.ErrIdle}, ends)
	})
	inBubble(t, "before the first byte", func(t *testing.T) {
		at, ends := run(t, serve(t, open("")), client.Options{})
		assert.Equal(t, []time.Duration{5 * s}, at)
		assert.Equal(t, []error{client.ErrIdle}, ends)
	})
	inBubble(t, "after an event", func(t *testing.T) {
		at, ends := run(t, serve(t, open("data: 1\n\n"), open("data: 2\n\n")), client.Options{})
		assert.Equal(t, []time.Duration{5 * s, 10 * s}, at)
		assert.Equal(t, []error{client.ErrIdle, client.ErrIdle}, ends)
	})
	inBubble(t, "over HTTP/2", func(t *testing.T) {
		p := serveAt(t, &ssetest.ServerOptions{Protocol: ssetest.H2C}, open("data: 1\n\n"), silence)
		at, ends := run(t, p, client.Options{})
		assert.Equal(t, []time.Duration{5 * s, 10 * s}, at)
		assert.Equal(t, []error{client.ErrIdle, client.ErrIdle}, ends)
	})
	inBubble(t, "unless there are bytes, of comments and parts of lines too", func(t *testing.T) {
		p := serve(t, func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(4 * s)
			w.Header().Set("Content-Type", sse.MediaType)
			http.NewResponseController(w).Flush()
			for _, part := range []string{":\n", "d", "a", "ta: 1", "\n"} {
				time.Sleep(4 * s)
				io.WriteString(w, part)
				http.NewResponseController(w).Flush()
			}
			time.Sleep(4 * s)
		})
		at, ends := run(t, p, client.Options{})
		assert.Equal(t, []time.Duration{28 * s}, at)
		assert.Equal(t, []error{io.ErrUnexpectedEOF}, ends)
	})
	inBubble(t, "but not while the consumer or a callback takes its time", func(t *testing.T) {
		p := serve(t, func(w http.ResponseWriter, r *http.Request) {
			whole(": beat\n\ndata: 1\n\n")(w, r)
			http.NewResponseController(w).Flush()
			time.Sleep(time.Second)
			io.WriteString(w, "data: 2\n\n")
		})
		var data []string
		hour := func() { time.Sleep(time.Hour) }
		opts := client.Options{
			IdleTimeout: idle,
			Prepare:     func(*http.Request) error { hour(); return nil },
			OnConnect:   func(*http.Response) { hour() },
			OnComment:   func(string) { hour() },
		}
		for ev, err := range p.client(opts).Events(t.Context()) {
			assert.NoError(t, err)
			data = append(data, ev.Data)
			hour()
		}
		assert.Equal(t, []string{"1", "2"}, data)
	})
	inBubble(t, "and a refusal whose body stalls is given up too", func(t *testing.T) {
		p := serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(503)
			http.NewResponseController(w).Flush()
			<-r.Context().Done()
		})
		opts := client.Options{IdleTimeout: s, MaxAttempts: 1}
		start := time.Now()
		for _, err := range p.client(opts).Events(t.Context()) {
			assert.ErrorAs(t, err, new(*client.ResponseError))
		}
		assert.Equal(t, s, time.Since(start))
	})
}
