package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/sse"
)

// serveFront serves a front with this write timeout, over HTTP/2 if it shall be
// secure, of a single node that answers by a handler.
func serveFront(t *testing.T, timeout time.Duration, secure bool, h http.HandlerFunc) (*node, *httptest.Server) {
	t.Helper()
	behind := httptest.NewServer(h)
	t.Cleanup(behind.Close)
	n := &node{name: "1", addr: behind.Listener.Addr().String(), changed: func() {}}
	f := newFront([]*node{n}, timeout)
	t.Cleanup(f.transport.CloseIdleConnections)
	server := httptest.NewUnstartedServer(f.handler())
	server.Config.WriteTimeout = timeout
	if secure {
		server.EnableHTTP2 = true
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	return n, server
}

func TestAClientThatNeverReadsIsGoneFromTheFrontInTime(t *testing.T) {
	t.Parallel()
	left := make(chan struct{})
	n, server := serveFront(t, 100*time.Millisecond, false, func(w http.ResponseWriter, r *http.Request) {
		defer close(left)
		w.Header().Set("Content-Type", sse.MediaType)
		for r.Context().Err() == nil {
			fmt.Fprintf(w, "data: %s\n\n", strings.Repeat("x", 10_000))
		}
	})
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, "GET /events HTTP/1.1\r\nHost: front\r\n\r\n")
	require.NoError(t, err)
	select {
	case <-left:
	case <-time.After(patience):
		require.Fail(t, "its stream is still there")
	}
	assert.Eventually(t, func() bool { return n.state().Streams == 0 }, patience, time.Millisecond)
}

func TestAStreamMayBeIdleForLongerThanAWriteMayTake(t *testing.T) {
	const timeout = 200 * time.Millisecond
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("secure %v", secure), func(t *testing.T) {
			t.Parallel()
			_, server := serveFront(t, timeout, secure, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", sse.MediaType)
				for n := range 2 {
					fmt.Fprintf(w, "data: %d\n\n", n)
					_ = http.NewResponseController(w).Flush()
					time.Sleep(2 * timeout)
				}
			})
			resp, err := server.Client().Get(server.URL)
			require.NoError(t, err)
			defer resp.Body.Close()
			assert.Equal(t, secure, resp.ProtoMajor == 2)
			body, err := io.ReadAll(resp.Body)
			assert.NoError(t, err)
			assert.Equal(t, "event: node\ndata: 1\n\ndata: 0\n\ndata: 1\n\n", string(body))
		})
	}
}
