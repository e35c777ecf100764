package client_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/fanfare-go/fanfare/client"
	"github.com/fanfare-go/fanfare/sse/ssetest"
)

// waits ranges over all events and returns how long each wait was said to be,
// without the random part: the only value of the list between two thirds of the
// wait and the whole.
func waits(t *testing.T, p *peer, opts client.Options, list ...time.Duration) (waits []time.Duration, last error) {
	opts.OnRetry = func(err error, delay time.Duration) {
		for _, d := range list {
			if d <= delay && delay <= d+d/2 {
				delay = d
				break
			}
		}
		waits = append(waits, delay)
	}
	for _, err := range p.client(opts).Events(t.Context()) {
		last = err
	}
	return waits, last
}

func TestTheWaitIsWhatOnRetryWasTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := serve(t, status(503), whole("data: 1\n\n"))
		at := []time.Duration{0}
		opts := client.Options{OnRetry: func(_ error, delay time.Duration) { at = append(at, at[len(at)-1]+delay) }}
		for range p.client(opts).Events(t.Context()) {
		}
		var asked []time.Duration
		for _, r := range p.asked() {
			asked = append(asked, r.At)
		}
		assert.Equal(t, at, asked)
	})
}

func TestARowOfWaitsStartsOver(t *testing.T) {
	s := time.Second
	inBubble(t, "after an event", func(t *testing.T) {
		p := serve(t, status(503), status(503), whole("data: 1\n\n"), status(503), status(503))
		got, _ := waits(t, p, client.Options{}, s, 2*s, 4*s)
		assert.Equal(t, []time.Duration{s, 2 * s, s, 2 * s, 4 * s}, got)
	})
	inBubble(t, "after a connection that lived longer than MaxBackoff", func(t *testing.T) {
		p := serve(t, status(503), status(503), after(31*s, ""), status(503))
		got, _ := waits(t, p, client.Options{}, s, 2*s)
		assert.Equal(t, []time.Duration{s, 2 * s, s, 2 * s}, got)
	})
	inBubble(t, "but not after one without an event that lived shorter", func(t *testing.T) {
		p := serve(t, status(503), status(503), after(29*s, ": beat\n\n"), status(503))
		got, _ := waits(t, p, client.Options{}, s, 2*s, 4*s, 8*s)
		assert.Equal(t, []time.Duration{s, 2 * s, 4 * s, 8 * s}, got)
	})
	inBubble(t, "when Events is ranged over again", func(t *testing.T) {
		p := serve(t, status(503), status(503), status(404), status(503))
		var delays []time.Duration
		c := p.client(client.Options{OnRetry: func(_ error, d time.Duration) { delays = append(delays, d) }})
		for range 2 {
			for range c.Events(t.Context()) {
			}
		}
		if assert.Len(t, delays, 3) {
			assert.LessOrEqual(t, delays[2], 3*s/2)
		}
	})
}

func TestTheServersRetryTimeStartsTheRow(t *testing.T) {
	inBubble(t, "for all later reconnections", func(t *testing.T) {
		p := serve(t, whole("retry: 200\ndata: 1\n\n"), whole("data: 2\n\n"), whole("data: 3\n\n"))
		got, _ := waits(t, p, client.Options{}, 200*time.Millisecond)
		assert.Equal(t, []time.Duration{200 * time.Millisecond, 200 * time.Millisecond, 200 * time.Millisecond}, got)
	})
	inBubble(t, "from a block without data", func(t *testing.T) {
		p := serve(t, whole("retry: 100\n\n"))
		got, _ := waits(t, p, client.Options{}, 100*time.Millisecond)
		assert.Equal(t, []time.Duration{100 * time.Millisecond}, got)
	})
	inBubble(t, "with digits only", func(t *testing.T) {
		p := serve(t, whole("retry: 03000\ndata: 1\n\nretry: +5\n\nretry: 1x\n\nretry:\n\n"))
		got, _ := waits(t, p, client.Options{}, 3*time.Second)
		assert.Equal(t, []time.Duration{3 * time.Second}, got)
	})
	inBubble(t, "also if it is 0", func(t *testing.T) {
		p := serve(t, whole("retry: 0\ndata: 1\n\n"))
		got, _ := waits(t, p, client.Options{}, 10*time.Millisecond)
		assert.Equal(t, []time.Duration{10 * time.Millisecond}, got)
	})
	inBubble(t, "after Events is ranged over again", func(t *testing.T) {
		p := serve(t, whole("retry: 200\ndata: 1\n\n"), whole("data: 2\n\n"))
		var delay time.Duration
		c := p.client(client.Options{OnRetry: func(_ error, d time.Duration) { delay = d }})
		for range c.Events(t.Context()) {
			break
		}
		for range c.Events(t.Context()) {
		}
		assert.LessOrEqual(t, delay, 300*time.Millisecond)
	})
}

func TestRetryAfterIsHonoured(t *testing.T) {
	s := time.Second
	for _, test := range []struct {
		name, value string
		want        time.Duration
	}{
		{"in seconds", "120", 120 * s},
		{"as a date", "Sat, 01 Jan 2000 00:02:00 GMT", 120 * s}, // bubbles begin at midnight
		{"up to five minutes", "86400", 300 * s},
		{"up to five minutes, without overflow", "99999999999999999999", 300 * s},
		{"up to five minutes, as a date", "Sun, 01 Jan 2040 00:00:00 GMT", 300 * s},
		{"unless it has passed", "Fri, 31 Dec 1999 23:59:59 GMT", s},
		{"unless it is negative", "-5", s},
		{"unless it is nonsense", "soon", s},
	} {
		for _, code := range []int{429, 503} {
			inBubble(t, fmt.Sprint(code, " ", test.name), func(t *testing.T) {
				p := serve(t, status(code, "Retry-After", test.value))
				got, _ := waits(t, p, client.Options{}, test.want)
				assert.Equal(t, []time.Duration{test.want}, got)
			})
		}
	}
}

func TestMaxAttemptsCountsFailedAttemptsInARow(t *testing.T) {
	inBubble(t, "the first included", func(t *testing.T) {
		p := serve(t, status(503), status(503), status(503))
		_, err := waits(t, p, client.Options{MaxAttempts: 3})
		assert.EqualError(t, err, "client: unexpected status 503 Service Unavailable (failed attempts: 3)")
		assert.ErrorAs(t, err, new(*client.ResponseError))
		assert.Len(t, p.asked(), 3)
	})
	inBubble(t, "1 does not try again", func(t *testing.T) {
		p := serve(t, status(503))
		got, err := waits(t, p, client.Options{MaxAttempts: 1})
		assert.EqualError(t, err, "client: unexpected status 503 Service Unavailable (failed attempts: 1)")
		assert.Empty(t, got)
		assert.Len(t, p.asked(), 1)
	})
	inBubble(t, "streams without an event fail", func(t *testing.T) {
		p := serve(t, whole(": hello\n\n"), whole("id: 1\n\n"), cut(""))
		_, err := waits(t, p, client.Options{MaxAttempts: 3})
		assert.EqualError(t, err, "client: stream ended: unexpected EOF (failed attempts: 3)")
		assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
	})
	inBubble(t, "an event begins another row", func(t *testing.T) {
		p := serve(t, status(503), whole("data: 1\n\n"), whole("data: 2\n\n"), status(503), whole(""))
		_, err := waits(t, p, client.Options{MaxAttempts: 2})
		assert.EqualError(t, err, "client: stream ended: EOF (failed attempts: 2)")
		assert.ErrorIs(t, err, io.EOF)
		assert.Len(t, p.asked(), 5)
	})
	inBubble(t, "a long life begins another row", func(t *testing.T) {
		p := serve(t, status(503), after(time.Minute, ""), status(503), status(500))
		_, err := waits(t, p, client.Options{MaxAttempts: 2})
		assert.EqualError(t, err, "client: unexpected status 500 Internal Server Error (failed attempts: 2)")
		assert.Len(t, p.asked(), 4)
	})
}

func TestANetworkErrorIsTriedAgain(t *testing.T) {
	inBubble(t, "refused, until the server is there", func(t *testing.T) {
		network := ssetest.NewNetwork(nil)
		hc := &http.Client{Transport: &http.Transport{DialContext: network.DialContext}}
		defer hc.CloseIdleConnections()
		var retries []error
		c := client.New("http://sse.test:80/", &client.Options{HTTPClient: hc, OnRetry: func(err error, _ time.Duration) {
			if retries = append(retries, err); len(retries) == 3 {
				serveAt(t, &ssetest.ServerOptions{Network: network, Addr: "sse.test:80"})
			}
		}})
		for _, err := range c.Events(t.Context()) {
			assert.NoError(t, err)
		}
		if assert.Len(t, retries, 3) {
			assert.ErrorIs(t, retries[0], syscall.ECONNREFUSED)
		}
	})
	inBubble(t, "and is named when it was the last", func(t *testing.T) {
		hc := &http.Client{Transport: &http.Transport{DialContext: ssetest.NewNetwork(nil).DialContext}}
		c := client.New("http://sse.test:80/", &client.Options{HTTPClient: hc, MaxAttempts: 2})
		for _, err := range c.Events(t.Context()) {
			assert.EqualError(t, err, `client: Get "http://sse.test:80/": dial mem sse.test:80: connect: connection refused (failed attempts: 2)`)
			assert.ErrorAs(t, err, new(*net.OpError))
		}
	})
	inBubble(t, "a connection that was reset", func(t *testing.T) {
		var conn *ssetest.Conn
		network := ssetest.NewNetwork(nil)
		p := serveAt(t, &ssetest.ServerOptions{Network: network}, open("data: 1\n\n"))
		transport := p.NewTransport()
		transport.DialContext = func(ctx context.Context, n, address string) (net.Conn, error) {
			nc, err := network.DialContext(ctx, n, address)
			conn, _ = nc.(*ssetest.Conn)
			return nc, err
		}
		var cause error
		c := p.client(client.Options{
			HTTPClient: &http.Client{Transport: transport},
			OnRetry:    func(err error, _ time.Duration) { cause = err },
		})
		for range c.Events(t.Context()) {
			conn.Reset()
		}
		assert.ErrorIs(t, cause, syscall.ECONNRESET)
		assert.Len(t, p.asked(), 2)
	})
}

func TestAnEventThatIsTooLongEndsTheIteration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := serve(t, whole("data: 12345\n\ndata: 123456\n\n"))
		opts := client.Options{MaxEventSize: 5}
		assert.Equal(t, []string{"open", `event "": 12345`, "error: client: stream ended: sse: event too long"}, consume(t.Context(), p, opts))
	})
}

func TestTheLoggerIsToldWhatOnRetryIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := serve(t, status(503))
		var log bytes.Buffer
		want := ""
		opts := client.Options{
			Logger: slog.New(slog.NewTextHandler(&log, nil)),
			OnRetry: func(err error, delay time.Duration) {
				want = fmt.Sprintf("msg=\"client: reconnecting\" err=%q delay=%v\n", err, delay)
			},
		}
		for range p.client(opts).Events(t.Context()) {
		}
		assert.Contains(t, log.String(), want)
	})
}
