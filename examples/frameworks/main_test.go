package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/client"
	"github.com/fanfare-go/fanfare/sse"
	"github.com/fanfare-go/fanfare/sse/ssetest"
)

func TestMain(m *testing.M) { ssetest.Main(m) }

// writeTimeout is that of the servers, and shorter than a stream here may be.
const writeTimeout = 500 * time.Millisecond

// each runs test behind every framework, with connections that are taken over
// and without.
func each(t *testing.T, test func(t *testing.T, b *broker.Broker, url string, complaints *notepad)) {
	for name, with := range frameworks {
		for _, detach := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, detached %v", name, detach), func(t *testing.T) {
				b := broker.New(&broker.Options{Detach: detach, Retry: 10 * time.Millisecond})
				complaints := new(notepad)
				server := httptest.NewUnstartedServer(with(b))
				server.Config.WriteTimeout = writeTimeout
				server.Config.ErrorLog = log.New(complaints, "", 0)
				server.Start()
				t.Cleanup(server.Close)
				t.Cleanup(func() { b.Close() })
				test(t, b, server.URL+"/events", complaints)
			})
		}
	}
}

func TestEveryEventIsFlushedWhenItIsPublished(t *testing.T) {
	each(t, func(t *testing.T, b *broker.Broker, url string, _ *notepad) {
		resp, err := http.Get(url) // which accepts gzip
		require.NoError(t, err)
		defer resp.Body.Close()
		assert.Equal(t, sse.MediaType, resp.Header.Get("Content-Type"))
		assert.Equal(t, "no-cache, no-transform", resp.Header.Get("Cache-Control"))
		stream := sse.NewDecoder(resp.Body)
		for n := range 10 { // none of which would come if the one before had to wait for more
			id, err := b.Publish(t.Context(), sse.Event{Data: fmt.Sprint(n)})
			require.NoError(t, err)
			ev, err := stream.Decode()
			require.NoError(t, err)
			assert.Equal(t, sse.Event{ID: id, Data: fmt.Sprint(n)}, ev)
		}
	})
}

func TestMiddlewareCompressesAnswersButNoStreams(t *testing.T) {
	each(t, func(t *testing.T, _ *broker.Broker, url string, _ *notepad) {
		encoding := func(url string) string {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
			require.NoError(t, err)
			r.Header.Set("Accept-Encoding", "gzip") // or the client hides that it was
			resp, err := http.DefaultClient.Do(r)
			require.NoError(t, err)
			defer resp.Body.Close()
			require.Equal(t, http.StatusOK, resp.StatusCode)
			return resp.Header.Get("Content-Encoding")
		}
		want := "gzip"
		if strings.Contains(t.Name(), "/gin") {
			want = "" // it has no such middleware
		}
		assert.Equal(t, want, encoding(strings.TrimSuffix(url, "events")))
		assert.Empty(t, encoding(url))
	})
}

func TestAClientThatComesBackMissesNothing(t *testing.T) {
	each(t, func(t *testing.T, b *broker.Broker, url string, complaints *notepad) {
		const events, drops = 300, 10
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		connected := make(chan struct{}, 1)
		var connects int
		c := client.New(url, &client.Options{
			MinBackoff: -1,
			OnConnect: func(*http.Response) {
				if connects++; connects == 1 {
					connected <- struct{}{}
				}
			},
		})
		var publishing sync.WaitGroup
		publishing.Go(func() {
			<-connected
			for n := range events {
				if _, err := b.Publish(ctx, sse.Event{Data: fmt.Sprint(n)}); !assert.NoError(t, err) {
					return
				}
			}
		})
		n := 0
		for ev, err := range c.Events(ctx) {
			require.NoError(t, err)
			require.Equal(t, fmt.Sprint(n), ev.Data)
			if n++; n == events {
				break
			}
			if n%(events/drops) == 0 {
				c.Reconnect()
			}
		}
		publishing.Wait()
		assert.GreaterOrEqual(t, connects, drops)
		assert.Empty(t, complaints.String())
	})
}

func TestAStreamEndsCleanlyWithTheBroker(t *testing.T) {
	each(t, func(t *testing.T, b *broker.Broker, url string, complaints *notepad) {
		resp, err := http.Get(url)
		require.NoError(t, err)
		defer resp.Body.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		assert.NoError(t, b.Shutdown(ctx))
		_, err = io.Copy(io.Discard, resp.Body)
		assert.NoError(t, err)
		assert.Empty(t, complaints.String())
	})
}

func TestAStreamOutlivesTheServersWriteTimeout(t *testing.T) {
	each(t, func(t *testing.T, b *broker.Broker, url string, _ *notepad) {
		t.Parallel()
		resp, err := http.Get(url)
		require.NoError(t, err)
		defer resp.Body.Close()
		stream := sse.NewDecoder(resp.Body)
		for n := range 2 {
			time.Sleep(writeTimeout)
			_, err := b.Publish(t.Context(), sse.Event{Data: fmt.Sprint(n)})
			require.NoError(t, err)
			ev, err := stream.Decode()
			require.NoError(t, err)
			assert.Equal(t, fmt.Sprint(n), ev.Data)
		}
	})
}

func TestRunRefusesFrameworksThatItDoesNotKnow(t *testing.T) {
	assert.EqualError(t, run(t.Context(), "127.0.0.1:0", "servlet"), `-with is "servlet", and must be chi, echo or gin`)
}

func TestRunEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	assert.NoError(t, run(ctx, "127.0.0.1:0", "chi"))
}

// notepad is a buffer that may be read while it is being written.
type notepad struct {
	mu  sync.Mutex // guards buf
	buf strings.Builder
}

func (n *notepad) Write(p []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.buf.Write(p)
}

func (n *notepad) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.buf.String()
}
