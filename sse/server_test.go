package sse_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/sse"
	"github.com/fanfare-go/fanfare/sse/ssetest"
)

// A serveFunc runs h behind a real server, whose timeouts are all at one second,
// and returns the response to one request.
type serveFunc func(h http.HandlerFunc) *http.Response

// eachProtocol runs f with each protocol, in a bubble.
func eachProtocol(t *testing.T, f func(t *testing.T, serve serveFunc)) {
	for _, p := range ssetest.Protocols {
		t.Run(p.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f(t, func(h http.HandlerFunc) *http.Response {
					srv := ssetest.Serve(t, h, &ssetest.ServerOptions{
						Protocol: p,
						Config: &http.Server{
							ReadTimeout:       time.Second,
							ReadHeaderTimeout: time.Second,
							WriteTimeout:      time.Second,
							IdleTimeout:       time.Second,
						},
					})
					req := ssetest.NewRequest(srv.URL, "7")
					req.RequestURI = ""
					res, err := srv.Client().Do(req)
					require.NoError(t, err)
					t.Cleanup(func() { res.Body.Close() })
					return res
				})
			})
		})
	}
}

func TestAStreamOutlivesTheServersTimeoutsAndItsOwn(t *testing.T) {
	for name, wrap := range map[string]func(http.ResponseWriter) http.ResponseWriter{
		"bare":    func(w http.ResponseWriter) http.ResponseWriter { return w },
		"wrapped": func(w http.ResponseWriter) http.ResponseWriter { return wrapper{wrapper{w}} },
	} {
		t.Run(name, func(t *testing.T) {
			eachProtocol(t, func(t *testing.T, serve serveFunc) {
				start := time.Now()
				res := serve(func(w http.ResponseWriter, r *http.Request) {
					sw, err := sse.NewWriter(wrap(w), r, nil)
					if !assert.NoError(t, err) {
						return
					}
					for _, data := range []string{"a", "b"} {
						time.Sleep(time.Hour)
						assert.NoError(t, sw.Send(sse.Event{ID: sw.LastEventID(), Data: data}))
					}
					time.Sleep(time.Hour)
				})
				assert.Zero(t, time.Since(start), "the header comes at once")
				assert.Equal(t, []string{"text/event-stream"}, res.Header["Content-Type"])
				assert.Equal(t, outcome{
					Events:      []sse.Event{{ID: "7", Data: "a"}, {ID: "7", Data: "b"}},
					LastEventID: "7",
					Err:         io.EOF,
				}, decode(sse.NewDecoder(res.Body)))
				assert.Equal(t, 3*time.Hour, time.Since(start))
			})
		})
	}
}

func TestAClientThatDoesNotReadEndsTheStreamAfterTheWriteTimeout(t *testing.T) {
	eachProtocol(t, func(t *testing.T, serve serveFunc) {
		took := make(chan time.Duration, 1)
		res := serve(func(w http.ResponseWriter, r *http.Request) {
			sw, err := sse.NewWriter(w, r, &sse.WriterOptions{WriteTimeout: 5 * time.Second})
			if !assert.NoError(t, err) {
				return
			}
			time.Sleep(time.Minute)
			start := time.Now()
			ch := make(chan sse.Event, 200)
			for range cap(ch) {
				ch <- sse.Event{Data: strings.Repeat("x", 100_000)}
			}
			err = sw.SendAll(context.Background(), ch)
			assert.Error(t, err)
			assert.Equal(t, err, sw.Flush())
			took <- time.Since(start)
		})
		// Where it is TLS, net/http closes the connection at once, and package
		// tls gives its last record another five seconds.
		assert.Contains(t, []time.Duration{5 * time.Second, 10 * time.Second}, <-took)
		_, err := io.Copy(io.Discard, res.Body)
		assert.Error(t, err, "this is not the end of a stream")
	})
}

func TestALargeEventMayTakeLongerThanOneWriteTimeout(t *testing.T) {
	const size = 10 << 20
	eachProtocol(t, func(t *testing.T, serve serveFunc) {
		res := serve(func(w http.ResponseWriter, r *http.Request) {
			sw, err := sse.NewWriter(w, r, &sse.WriterOptions{WriteTimeout: 5 * time.Second})
			if !assert.NoError(t, err) {
				return
			}
			start := time.Now()
			assert.NoError(t, sw.Send(sse.Event{Data: strings.Repeat("x", size)}))
			assert.Greater(t, time.Since(start), 30*time.Second)
		})
		p := make([]byte, 64<<10)
		read := 0
		for {
			n, err := io.ReadFull(res.Body, p)
			if read += n; err != nil {
				require.Contains(t, []error{io.EOF, io.ErrUnexpectedEOF}, err)
				break
			}
			time.Sleep(time.Second)
		}
		assert.Equal(t, size+len("data: \n\n"), read)
	})
}

func TestTheEndIsCleanAfterALongSilence(t *testing.T) {
	eachProtocol(t, func(t *testing.T, serve serveFunc) {
		ch := make(chan sse.Event)
		res := serve(func(w http.ResponseWriter, r *http.Request) {
			sw, err := sse.NewWriter(w, r, &sse.WriterOptions{Heartbeat: -1})
			if assert.NoError(t, err) {
				assert.NoError(t, sw.SendAll(r.Context(), ch))
			}
		})
		go func() {
			ch <- sse.Event{Data: "a"}
			time.Sleep(24 * time.Hour)
			close(ch)
		}()
		got := decode(sse.NewDecoder(res.Body))
		assert.Equal(t, outcome{Events: []sse.Event{{Data: "a"}}, Err: io.EOF}, got)
	})
}

func TestAClientThatGoesEndsSendAll(t *testing.T) {
	eachProtocol(t, func(t *testing.T, serve serveFunc) {
		ended := make(chan error, 1)
		res := serve(func(w http.ResponseWriter, r *http.Request) {
			sw, err := sse.NewWriter(w, r, nil)
			if assert.NoError(t, err) {
				ended <- sw.SendAll(context.Background(), nil)
			}
		})
		time.Sleep(50 * time.Second) // in between two heartbeats
		res.Body.Close()
		assert.Equal(t, context.Canceled, <-ended)
	})
}

// What a client that does not read leaves room for is written without waiting;
// the end of the response then meets a full buffer, when no method of the
// Writer can be called any more.
func TestTheEndOfTheResponseHasADeadlineToo(t *testing.T) {
	t.Run("after SendAll", func(t *testing.T) {
		testTheEnd(t, func(w *sse.Writer) error { return w.SendAll(context.Background(), queued("a")) })
	})
	t.Run("after Close", func(t *testing.T) {
		testTheEnd(t, func(w *sse.Writer) error { defer w.Close(); return w.Send(sse.Event{Data: "a"}) })
	})
}

// testTheEnd tests what becomes of the end of a response after send.
func testTheEnd(t *testing.T, send func(*sse.Writer) error) {
	synctest.Test(t, func(t *testing.T) {
		const end = "0\r\n\r\n"
		response := func(buffer int, wait time.Duration) string {
			nw := ssetest.NewNetwork(&ssetest.NetworkOptions{Buffer: buffer})
			srv := ssetest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				sw, err := sse.NewWriter(w, r, nil)
				if assert.NoError(t, err) {
					assert.NoError(t, send(sw))
				}
			}), &ssetest.ServerOptions{Network: nw})
			defer srv.Close()
			conn, err := nw.Dial("tcp", strings.TrimPrefix(srv.URL, "http://"))
			require.NoError(t, err)
			defer conn.Close()
			_, err = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: sse.test\r\nConnection: close\r\n\r\n")
			require.NoError(t, err)
			time.Sleep(wait)
			body, err := io.ReadAll(conn)
			require.NoError(t, err)
			return string(body)
		}
		whole := response(-1, 0)
		require.True(t, strings.HasSuffix(whole, end))
		most := strings.TrimSuffix(whole, end)
		inTime, tooLate := response(len(most), 9*time.Second), response(len(most), 11*time.Second)
		assert.True(t, strings.HasSuffix(inTime, end), inTime)
		assert.False(t, strings.HasSuffix(tooLate, end), tooLate)
		assert.Len(t, tooLate, len(most))
	})
}

func TestHEADIsAnsweredWithTheHeaderAlone(t *testing.T) {
	for _, p := range ssetest.Protocols {
		t.Run(p.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ended := make(chan error, 2)
				srv := ssetest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					sw, err := sse.NewWriter(w, r, &sse.WriterOptions{Retry: time.Second})
					if assert.NoError(t, err) {
						ended <- sw.Send(sse.Event{Data: "a"})
						ended <- sw.SendAll(r.Context(), queued("b"))
					}
				}), &ssetest.ServerOptions{Protocol: p})
				head, err := srv.Client().Head(srv.URL)
				require.NoError(t, err)
				head.Body.Close()
				assert.Equal(t, http.StatusOK, head.StatusCode)
				assert.Equal(t, sse.MediaType, head.Header.Get("Content-Type"))
				assert.Equal(t, http.ErrBodyNotAllowed, <-ended)
				assert.Equal(t, http.ErrBodyNotAllowed, <-ended)

				// Over the same connection.
				res, err := srv.Client().Get(srv.URL)
				require.NoError(t, err)
				defer res.Body.Close()
				body, err := io.ReadAll(res.Body)
				assert.NoError(t, err)
				assert.Equal(t, "retry: 1000\n\ndata: a\n\ndata: b\n\n", string(body))
			})
		})
	}
}

// promised are requests whose bodies do not come, over HTTP/1.1.
var promised = []string{
	"POST / HTTP/1.1\r\nHost: sse.test\r\nContent-Length: 500\r\n\r\nhello",
	"GET / HTTP/1.1\r\nHost: sse.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
	"HEAD / HTTP/1.1\r\nHost: sse.test\r\nContent-Length: 500\r\n\r\nhello",
}

func TestABodyThatDoesNotComeHoldsNobody(t *testing.T) {
	for _, request := range promised {
		synctest.Test(t, func(t *testing.T) {
			ended := make(chan error, 1)
			nw := ssetest.NewNetwork(nil)
			srv := ssetest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, err := sse.NewWriter(w, r, &sse.WriterOptions{WriteTimeout: time.Second})
				ended <- err
				http.Error(w, "a body that ends, please", http.StatusBadRequest)
			}), &ssetest.ServerOptions{Network: nw, Config: &http.Server{WriteTimeout: time.Second}})
			conn, err := nw.Dial("tcp", strings.TrimPrefix(srv.URL, "http://"))
			require.NoError(t, err)
			defer conn.Close()
			_, err = io.WriteString(conn, request)
			require.NoError(t, err)
			start := time.Now()
			assert.ErrorIs(t, <-ended, sse.ErrBody)
			require.NoError(t, srv.Shutdown(t.Context()))
			assert.Less(t, time.Since(start), 3*time.Second)
			answer, err := io.ReadAll(conn)
			assert.NoError(t, err)
			assert.Regexp(t, "^HTTP/1.1 400 ", string(answer))
		})
	}
}

func TestHEADIsAnsweredThoughItsBodyIsLaterThanTheServersWriteTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		nw := ssetest.NewNetwork(nil)
		srv := ssetest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, err := sse.NewWriter(w, r, nil)
			assert.NoError(t, err)
		}), &ssetest.ServerOptions{Network: nw, Config: &http.Server{WriteTimeout: 5 * time.Second}})
		conn, err := nw.Dial("tcp", strings.TrimPrefix(srv.URL, "http://"))
		require.NoError(t, err)
		defer conn.Close()
		_, err = io.WriteString(conn, "HEAD / HTTP/1.1\r\nHost: sse.test\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhel")
		require.NoError(t, err)
		time.Sleep(7 * time.Second)
		_, err = io.WriteString(conn, "lo")
		require.NoError(t, err)
		answer, err := io.ReadAll(conn)
		assert.NoError(t, err)
		assert.Regexp(t, "^HTTP/1.1 200 ", string(answer))
	})
}

func TestTheRestOfABodyIsReadAndTheEndOfItsClientNoticed(t *testing.T) {
	const most = 256 << 10
	for size, begins := range map[int]bool{0: true, 10: true, most: true, most + 1: false} {
		for _, p := range ssetest.Protocols {
			synctest.Test(t, func(t *testing.T) {
				ended := make(chan error, 1)
				srv := ssetest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					sw, err := sse.NewWriter(w, r, nil)
					if err != nil {
						w.WriteHeader(http.StatusRequestEntityTooLarge)
					} else {
						err = sw.SendAll(context.Background(), nil)
					}
					ended <- err
				}), &ssetest.ServerOptions{Protocol: p})
				resp, err := srv.Client().Post(srv.URL, "text/plain", strings.NewReader(strings.Repeat("x", size)))
				require.NoError(t, err)
				defer resp.Body.Close()
				if !begins && (p == ssetest.HTTP1 || p == ssetest.HTTP1TLS) {
					assert.Equal(t, http.StatusRequestEntityTooLarge, resp.StatusCode)
					assert.ErrorIs(t, <-ended, sse.ErrBody)
					return
				}
				assert.Equal(t, 200, resp.StatusCode)
				synctest.Wait() // until it waits in SendAll: a flush may see the end before the context does
				resp.Body.Close()
				assert.ErrorIs(t, <-ended, context.Canceled)
			})
		}
	}
}
