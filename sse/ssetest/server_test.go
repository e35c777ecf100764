package ssetest_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/sse/ssetest"
)

func eachProtocol(t *testing.T, f func(t *testing.T, p ssetest.Protocol)) {
	for _, p := range ssetest.Protocols {
		t.Run(p.String(), func(t *testing.T) { f(t, p) })
	}
}

func TestServerSpeaksEachProtocolAndOnFakeTime(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p ssetest.Protocol) {
		synctest.Test(t, func(t *testing.T) {
			srv := ssetest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				for i := range 3 {
					time.Sleep(time.Hour)
					fmt.Fprintf(w, "%s %d\n", r.Proto, i)
					assert.NoError(t, http.NewResponseController(w).Flush())
				}
			}), &ssetest.ServerOptions{Protocol: p})
			start := time.Now()
			res, err := srv.Client().Get(srv.URL)
			require.NoError(t, err)
			defer res.Body.Close()
			body, err := io.ReadAll(res.Body)
			require.NoError(t, err)
			proto := "HTTP/1.1"
			if p == ssetest.HTTP2 || p == ssetest.H2C {
				proto = "HTTP/2.0"
			}
			assert.Equal(t, fmt.Sprintf("%[1]s 0\n%[1]s 1\n%[1]s 2\n", proto), string(body))
			assert.Equal(t, 3*time.Hour, time.Since(start))
		})
	})
}

func TestTheServersConfigIsInForce(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p ssetest.Protocol) {
		synctest.Test(t, func(t *testing.T) {
			var states []http.ConnState
			srv := ssetest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				assert.Equal(t, 3<<10, r.Context().Value(http.ServerContextKey).(*http.Server).MaxHeaderBytes)
				time.Sleep(time.Minute)
				io.WriteString(w, "too late")
			}), &ssetest.ServerOptions{Protocol: p, Addr: "example.com:443", Config: &http.Server{
				WriteTimeout:   time.Second,
				MaxHeaderBytes: 3 << 10,
				ConnState:      func(_ net.Conn, s http.ConnState) { states = append(states, s) },
			}})
			assert.True(t, strings.HasSuffix(srv.URL, "://example.com:443"), srv.URL)
			_, err := srv.Client().Get(srv.URL)
			assert.Error(t, err)
			srv.Close()
			srv.Close()
			require.NotEmpty(t, states)
			assert.Equal(t, http.StateNew, states[0])
			assert.Equal(t, http.StateClosed, states[len(states)-1])
		})
	})
}

func TestCloseEndsStreamsAndWaitsForTheirHandlers(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p ssetest.Protocol) {
		synctest.Test(t, func(t *testing.T) {
			ended := false
			srv := ssetest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				http.NewResponseController(w).Flush()
				<-r.Context().Done()
				time.Sleep(time.Minute) // tidying up
				ended = true
			}), &ssetest.ServerOptions{Protocol: p})
			res, err := srv.Client().Get(srv.URL)
			require.NoError(t, err)
			defer res.Body.Close()
			start := time.Now()
			srv.Close()
			assert.True(t, ended)
			assert.Equal(t, time.Minute, time.Since(start))
			_, err = io.ReadAll(res.Body)
			assert.Error(t, err)
			_, err = srv.Client().Get(srv.URL)
			assert.ErrorIs(t, err, syscall.ECONNREFUSED)
		})
	})
}

func TestAServerIsRestartedAtItsAddress(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p ssetest.Protocol) {
		synctest.Test(t, func(t *testing.T) {
			opts := &ssetest.ServerOptions{Protocol: p, Network: ssetest.NewNetwork(nil), Addr: "sse.test:80"}
			first := ssetest.Serve(t, http.NotFoundHandler(), opts)
			assert.Panics(t, func() { ssetest.Serve(t, http.NotFoundHandler(), opts) }, "the address is taken")
			for srv := first; ; srv = ssetest.Serve(t, http.NotFoundHandler(), opts) {
				assert.Equal(t, first.URL, srv.URL)
				res, err := first.Client().Get(srv.URL)
				require.NoError(t, err, "the first one's client reaches the second server")
				res.Body.Close()
				if srv != first {
					break
				}
				require.NoError(t, srv.Shutdown(t.Context()))
				srv.Close()
			}
			first.Client().CloseIdleConnections()
		})
	})
}

func TestAServerOnLoopbackSpeaksEachProtocol(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p ssetest.Protocol) {
		srv := ssetest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, r.URL.Path)
		}), &ssetest.ServerOptions{Protocol: p, Listener: loopback(t)})
		assert.Nil(t, srv.Network)
		res, err := srv.Client().Get(srv.URL + "/hello")
		require.NoError(t, err)
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		assert.Equal(t, "/hello", string(body))
	})
	assert.Equal(t, "Protocol(9)", ssetest.Protocol(9).String())
}

func TestAClientThatDoesNotReadBlocksTheHandlerAtAKnownNumberOfBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const buffer = 10_000
		wrote := 0
		srv := ssetest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			c := http.NewResponseController(w)
			c.SetWriteDeadline(time.Now().Add(time.Minute))
			for c.Flush() == nil {
				n, _ := io.WriteString(w, ": a comment\n")
				wrote += n
			}
		}), &ssetest.ServerOptions{Network: ssetest.NewNetwork(&ssetest.NetworkOptions{Buffer: buffer})})
		c, err := srv.Network.Dial("tcp", strings.TrimPrefix(srv.URL, "http://"))
		require.NoError(t, err)
		defer c.Close()
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: sse.test\r\n\r\n")
		time.Sleep(time.Hour)
		srv.Close()
		assert.Greater(t, wrote, buffer/2)
		assert.LessOrEqual(t, wrote, buffer)
	})
}
