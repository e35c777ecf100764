package broker_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/sse"
)

func open(t testing.TB, url, cursor string) (*sse.Decoder, *http.Response) {
	t.Helper()
	r := get(t, url)
	if cursor != "" {
		r.Header.Set("Last-Event-ID", cursor)
	}
	resp, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	require.Equal(t, 200, resp.StatusCode)
	t.Cleanup(func() { resp.Body.Close() })
	return sse.NewDecoder(resp.Body), resp
}

func TestADetachedStreamHasEveryEventOnce(t *testing.T) {
	b := newBroker(t, &broker.Options{Detach: true, QueueSize: 16})
	srv := httptest.NewServer(b)
	defer srv.Close()
	const last = 20000
	var wg sync.WaitGroup
	for range 20 {
		d, resp := open(t, srv.URL, "")
		assert.Equal(t, "text/event-stream", resp.Header.Get("Content-Type"))
		assert.Equal(t, []string{"chunked"}, resp.TransferEncoding)
		wg.Go(func() {
			for i := 1; i <= last; i++ {
				ev, err := d.Decode()
				if !assert.NoError(t, err) || !assert.Equal(t, fmt.Sprint(i), ev.Data) {
					return
				}
			}
			_, err := d.Decode()
			assert.Equal(t, io.EOF, err)
		})
	}
	for i := range last {
		publish(t, b, i+1, i+1)
		if i%4000 == 0 {
			time.Sleep(50 * time.Millisecond)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	require.NoError(t, b.Shutdown(ctx))
	wg.Wait()
	t.Logf("%+v", b.Stats())
}

func TestADetachedStreamEndsWithItsClient(t *testing.T) {
	b := newBroker(t, &broker.Options{Detach: true})
	srv := httptest.NewServer(b)
	defer srv.Close()
	_, resp := open(t, srv.URL, "")
	require.Eventually(t, func() bool { return b.Stats().Subscribers == 1 }, time.Second, time.Millisecond)
	resp.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	require.Eventually(t, func() bool { return b.Stats().Subscribers == 0 }, time.Second, time.Millisecond)
	require.NoError(t, b.Shutdown(t.Context()))
}

func TestADetachedClientThatNeverReadsLosesItsConnectionOnly(t *testing.T) {
	b := newBroker(t, &broker.Options{Detach: true, WriteTimeout: 100 * time.Millisecond})
	srv := httptest.NewServer(b)
	defer srv.Close()
	conn, err := net.Dial("tcp", srv.Listener.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	require.NoError(t, err)
	line, err := bufio.NewReader(conn).ReadString('\n')
	require.NoError(t, err)
	assert.Equal(t, "HTTP/1.1 200 OK\r\n", line)
	d, _ := open(t, srv.URL, "")
	for i := range 400 {
		data := fmt.Sprint(i, strings.Repeat("x", 1<<16))
		_, err := b.Publish(t.Context(), sse.Event{Data: data})
		require.NoError(t, err)
		ev, err := d.Decode()
		require.NoError(t, err)
		require.Equal(t, data, ev.Data)
	}
	require.Eventually(t, func() bool { return b.Stats().Subscribers == 1 }, 5*time.Second, time.Millisecond)
}

func TestADetachedStreamHasHeartbeats(t *testing.T) {
	b := newBroker(t, &broker.Options{Detach: true, Heartbeat: 20 * time.Millisecond})
	srv := httptest.NewServer(b)
	defer srv.Close()
	d, _ := open(t, srv.URL, "")
	beats := make(chan string, 100)
	d.OnComment(func(text string) {
		select {
		case beats <- d.LastEventID():
		default:
		}
	})
	done := make(chan struct{})
	go func() { defer close(done); _, _ = d.Decode() }()
	first := <-beats
	id := publish(t, b, 1, 1, "other")[0]
	for last := first; last != id; last = <-beats {
		assert.Equal(t, first, last)
	}
	require.NoError(t, b.Close())
	<-done
}
