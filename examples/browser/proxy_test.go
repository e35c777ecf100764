package browser

import (
	"context"
	"io"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/client"
	"github.com/fanfare-go/fanfare/sse"
)

// proxied runs a test behind nginx in the ways that it talks to servers.
// HTTP/1.0 is its default up to 1.29.6.
func proxied(t *testing.T, opts broker.Options, more string, test func(*testing.T, *site, *nginx)) {
	for name, v := range map[string]struct {
		detach bool
		http11 string
	}{
		"by default":                           {},
		"by default, with detached sockets":    {detach: true},
		"over HTTP/1.1":                        {http11: `proxy_http_version 1.1; proxy_set_header Connection "";`},
		"over HTTP/1.1, with detached sockets": {detach: true, http11: `proxy_http_version 1.1; proxy_set_header Connection "";`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			opts := opts
			opts.Detach = v.detach
			s := newSite(t, opts, false)
			test(t, s, newNginx(t, s.addr, v.http11+more))
		})
	}
}

func TestNginxPassesEveryEventOnAtOnce(t *testing.T) {
	t.Parallel()
	proxied(t, broker.Options{}, "", func(t *testing.T, s *site, n *nginx) {
		arrivals := follow(t, client.New(n.url(), nil))
		s.awaitSubscribers(1)
		var slowest time.Duration
		for range 20 {
			began := time.Now()
			want := s.publish(1)
			assert.Equal(t, want[0], next(t, arrivals))
			took := time.Since(began)
			slowest = max(slowest, took)
			time.Sleep(100*time.Millisecond - took)
		}
		assert.Less(t, slowest, 250*time.Millisecond)
		t.Log("the slowest of 20 events, 10 a second, took", slowest)
	})
}

func TestNginxKeepsAQuietStreamOpenForItsHeartbeats(t *testing.T) {
	t.Parallel()
	// The default is 60 s for nginx and 15 s for heartbeats.
	const second = "proxy_read_timeout 1s;"
	proxied(t, broker.Options{Heartbeat: 250 * time.Millisecond}, second, func(t *testing.T, s *site, n *nginx) {
		heartbeats := make(chan time.Time, 1000)
		arrivals := follow(t, client.New(n.url(), &client.Options{
			OnRetry:   func(err error, _ time.Duration) { assert.NoError(t, err) },
			OnComment: func(string) { heartbeats <- time.Now() },
		}))
		first := next(t, heartbeats)
		for next(t, heartbeats).Sub(first) < 3*time.Second {
		}
		assert.Equal(t, s.publish(1)[0], next(t, arrivals))
		assert.Len(t, s.requests(), 1)
	})
}

func TestNginxThatIsRestartedCostsNoEvent(t *testing.T) {
	t.Parallel()
	proxied(t, broker.Options{}, "", func(t *testing.T, s *site, n *nginx) {
		lost := make(chan error, 1000)
		arrivals := follow(t, client.New(n.url(), &client.Options{
			OnRetry: func(err error, _ time.Duration) { lost <- err },
		}))
		s.awaitSubscribers(1)
		var last arrival
		for range 3 {
			for _, want := range s.publish(50) {
				require.Equal(t, want, next(t, arrivals))
				last = want
			}
			n.end(syscall.SIGTERM)
			assert.Error(t, next(t, lost))
			missed := s.publish(50)
			n.start()
			for _, want := range append(missed, s.publish(50)...) {
				require.Equal(t, want, next(t, arrivals))
			}
			cursors := s.requests()
			assert.Equal(t, last.ID, cursors[len(cursors)-1])
		}
	})
}

func TestNginxEndsTheStreamWhenTheBrokerDoes(t *testing.T) {
	t.Parallel()
	proxied(t, broker.Options{}, "", func(t *testing.T, s *site, n *nginx) {
		ends := make(chan error, 1000)
		arrivals := follow(t, client.New(n.url(), &client.Options{
			OnRetry: func(err error, _ time.Duration) { ends <- err },
		}))
		s.awaitSubscribers(1)
		want := s.publish(100)
		s.shutdown()
		for i := range want {
			assert.Equal(t, want[i], next(t, arrivals), "all that was published is sent before the end")
		}
		assert.Equal(t, io.EOF, next(t, ends), "which is a clean one")

		s.start()
		want = s.publish(1)
		assert.Equal(t, want[0], next(t, arrivals))
	})
}

func TestNginxTellsTheBrokerOfClientsThatLeave(t *testing.T) {
	t.Parallel()
	proxied(t, broker.Options{}, "", func(t *testing.T, s *site, n *nginx) {
		ctx, leave := context.WithCancel(t.Context())
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, n.url(), nil)
		require.NoError(t, err)
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		assert.Equal(t, sse.MediaType, resp.Header.Get("Content-Type"))
		s.awaitSubscribers(1)
		leave()
		s.awaitSubscribers(0)
	})
}

// follow returns what a client gets until the test ends.
func follow(t *testing.T, c *client.Client) <-chan arrival {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	arrivals, done := make(chan arrival, 1000), make(chan struct{})
	go func() {
		defer close(done)
		defer close(arrivals)
		for ev, err := range c.Events(ctx) {
			if err != nil {
				return // the end of the test; if not, it misses something
			}
			arrivals <- arrival{Type: ev.Type, Data: ev.Data, ID: ev.ID}
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return arrivals
}
