package broker_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
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

// body returns the first bytes of a stream, as many as want has.
func body(t testing.TB, r io.Reader, want string) string {
	t.Helper()
	got := make([]byte, len(want))
	n, err := io.ReadFull(r, got)
	assert.NoError(t, err)
	return string(got[:n])
}

func TestADetachedStreamHasTheOrderOfAnyOther(t *testing.T) {
	state := "event: state\ndata: x\n\n"
	gap := "event: gap\ndata: \n\n"
	snapshot := func(r *http.Request, _ []string) ([]sse.Event, error) {
		return []sse.Event{{Type: "state", Data: "x"}}, r.Context().Err()
	}
	for name, test := range map[string]struct {
		opts   broker.Options
		cursor string
		want   string
	}{
		"no cursor":                 {broker.Options{}, "", "id: 4\n\n"},
		"backlog":                   {broker.Options{Backlog: 1}, "", block("3", "3") + "id: 4\n\n"},
		"snapshot":                  {broker.Options{Snapshot: snapshot}, "", state + "id: 4\n\n"},
		"good cursor":               {broker.Options{}, "1", block("2", "2") + block("3", "3")},
		"lost cursor":               {broker.Options{}, "x", gap + block("2", "2") + block("3", "3")},
		"lost cursor with snapshot": {broker.Options{Snapshot: snapshot}, "x", gap + state + "id: 4\n\n"},
		"retry":                     {broker.Options{Retry: time.Second}, "4", "retry: 1000\n\n"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, detach := range []bool{false, true} {
				opts := test.opts
				opts.Store = namedStore(&broker.MemoryOptions{MaxEvents: 3})
				opts.Detach = detach
				b := newBroker(t, &opts)
				srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("X-Middleware", "was here")
					b.ServeHTTP(w, r)
				}))
				defer srv.Close()
				publish(t, b, 1, 3)
				publish(t, b, 4, 4, "other")
				_, resp := open(t, srv.URL, test.cursor)
				assert.Equal(t, "was here", resp.Header.Get("X-Middleware"))
				assert.Equal(t, "no-cache, no-transform", resp.Header.Get("Cache-Control"))
				assert.NotEmpty(t, resp.Header.Get("Date"))
				assert.Equal(t, test.want, body(t, resp.Body, test.want))
				for i := 5; i < 10; i++ {
					live := block(fmt.Sprint(i), fmt.Sprint(i))
					publish(t, b, i, i)
					assert.Equal(t, live, body(t, resp.Body, live))
				}
				require.NoError(t, b.Shutdown(t.Context()))
				end, err := io.ReadAll(resp.Body)
				require.NoError(t, err)
				assert.Regexp(t, `^retry: \d{4}\n\n$`, string(end))
			}
		})
	}
}

func TestWhatCannotBeDetachedIsServedAllTheSame(t *testing.T) {
	b := newBroker(t, &broker.Options{Store: namedStore(nil), Detach: true})
	for name, start := range map[string]func(*httptest.Server){
		"TLS":    (*httptest.Server).StartTLS,
		"HTTP/2": func(s *httptest.Server) { s.EnableHTTP2 = true; s.StartTLS() },
		"wrapped": func(s *httptest.Server) {
			s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				b.ServeHTTP(struct {
					http.ResponseWriter
					http.Flusher
				}{w, w.(http.Flusher)}, r)
			})
			s.Start()
		},
		"wrapped, with an error of its own": func(s *httptest.Server) {
			s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				b.ServeHTTP(unhijackable{w}, r)
			})
			s.Start()
		},
	} {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewUnstartedServer(b)
			start(srv)
			defer srv.Close()
			resp, err := srv.Client().Do(get(t, srv.URL))
			require.NoError(t, err)
			defer resp.Body.Close()
			d := sse.NewDecoder(resp.Body)
			require.Eventually(t, func() bool { return b.Stats().Subscribers > 0 }, time.Second, time.Millisecond)
			publish(t, b, 1, 1)
			ev, err := d.Decode()
			require.NoError(t, err)
			assert.Equal(t, "1", ev.Data)
		})
	}
}

// An unhijackable says in its own words that it cannot be hijacked.
type unhijackable struct{ http.ResponseWriter }

func (unhijackable) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return nil, nil, errors.New("no hijacking here")
}

func (u unhijackable) Flush() { u.ResponseWriter.(http.Flusher).Flush() }

func TestARequestWithABodyIsServedWithDetachAsWithout(t *testing.T) {
	for name, test := range map[string]struct {
		rest   string // of the request
		status string
	}{
		"100 kB":  {"Content-Length: 100000\r\n\r\n" + strings.Repeat("x", 100_000), "200"},
		"300 kB":  {"Content-Length: 300000\r\n\r\n" + strings.Repeat("x", 300_000), "400"},
		"endless": {"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "400"},
	} {
		for _, detach := range []bool{false, true} {
			t.Run(fmt.Sprint(name, detach), func(t *testing.T) {
				b := newBroker(t, &broker.Options{Detach: detach, WriteTimeout: 200 * time.Millisecond})
				srv := httptest.NewServer(b)
				defer srv.Close()
				conn, err := net.Dial("tcp", srv.Listener.Addr().String())
				require.NoError(t, err)
				defer conn.Close()
				go io.WriteString(conn, "GET / HTTP/1.1\r\nHost: sse.test\r\n"+test.rest)
				answer := bufio.NewReader(conn)
				status, err := answer.ReadString('\n')
				require.NoError(t, err)
				assert.Contains(t, status, " "+test.status+" ")
				if test.status == "200" {
					publish(t, b, 1, 1)
					for line := ""; line != "data: 1\n"; {
						line, err = answer.ReadString('\n')
						require.NoError(t, err)
					}
				}
			})
		}
	}
}

func TestAPanicInADetachedStreamCostsThatStreamOnly(t *testing.T) {
	var panics atomic.Bool
	b := newBroker(t, &broker.Options{
		Detach:    true,
		QueueSize: 1,
		Store:     namedStore(&broker.MemoryOptions{MaxEvents: 1}),
		Snapshot: func(*http.Request, []string) ([]sse.Event, error) {
			if panics.Load() {
				panic("oops")
			}
			return nil, nil
		},
	})
	srv := httptest.NewServer(b)
	defer srv.Close()
	conn, err := net.Dial("tcp", srv.Listener.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	require.NoError(t, err)
	_, err = conn.Read(make([]byte, 1))
	require.NoError(t, err)
	panics.Store(true) // from now on it is asked after a gap
	for range 400 {
		_, err := b.Publish(t.Context(), sse.Event{Data: strings.Repeat("x", 1<<16)})
		require.NoError(t, err)
	}
	_, err = io.Copy(io.Discard, conn) // it catches up now, and has a gap
	require.NoError(t, err)
	require.Eventually(t, func() bool { return b.Stats().Subscribers == 0 }, 5*time.Second, time.Millisecond)
}

func TestADetachedStreamHasEveryEventOnce(t *testing.T) {
	b := newBroker(t, &broker.Options{Detach: true, QueueSize: 16})
	srv := httptest.NewServer(b)
	defer srv.Close()
	const last = 5000
	var wg sync.WaitGroup
	for range 8 {
		d, resp := open(t, srv.URL, "")
		assert.Equal(t, "text/event-stream", resp.Header.Get("Content-Type"))
		assert.Empty(t, resp.TransferEncoding)
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
		if i%1000 == 0 {
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
