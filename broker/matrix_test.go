package broker_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httputil"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/sse"
	"github.com/fanfare-go/fanfare/sse/ssetest"
)

// A surrounding is what a Broker is served by.
type surrounding struct {
	protocol ssetest.Protocol
	timeouts bool // all of the server are 1 s
	detach   bool
	compress bool   // the client accepts it, though it is not seen here
	between  string // what is between the Broker and the client
}

func (s surrounding) String() string {
	return fmt.Sprintf("%v/timeouts=%v/detach=%v/compress=%v/%s", s.protocol, s.timeouts, s.detach, s.compress, s.between)
}

func surroundings() (all []surrounding) {
	for _, protocol := range ssetest.Protocols {
		for _, timeouts := range []bool{false, true} {
			for _, detach := range []bool{false, true} {
				for _, compress := range []bool{false, true} {
					for _, between := range []string{"nothing", "a wrapped writer", "a reverse proxy"} {
						all = append(all, surrounding{protocol, timeouts, detach, compress, between})
					}
				}
			}
		}
	}
	return all
}

// A wrapper is a ResponseWriter of some middleware: it has nothing but Unwrap.
type wrapper struct{ w http.ResponseWriter }

func (w wrapper) Header() http.Header         { return w.w.Header() }
func (w wrapper) Write(p []byte) (int, error) { return w.w.Write(p) }
func (w wrapper) WriteHeader(code int)        { w.w.WriteHeader(code) }
func (w wrapper) Unwrap() http.ResponseWriter { return w.w }

// serve serves b as s says.
func (s surrounding) serve(t *testing.T, b *broker.Broker) *ssetest.Server {
	var h http.Handler = b
	if s.between == "a wrapped writer" {
		h = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { b.ServeHTTP(wrapper{wrapper{w}}, r) })
	}
	config := &http.Server{}
	if s.timeouts {
		config.ReadTimeout, config.ReadHeaderTimeout = time.Second, time.Second
		config.WriteTimeout, config.IdleTimeout = time.Second, time.Second
	}
	srv := ssetest.Serve(t, h, &ssetest.ServerOptions{Protocol: s.protocol, Config: config})
	if s.between == "a reverse proxy" {
		target, err := url.Parse(srv.URL)
		require.NoError(t, err)
		proxy := &httputil.ReverseProxy{
			Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target) },
			Transport: srv.NewTransport(),
		}
		srv = ssetest.Serve(t, proxy, &ssetest.ServerOptions{Protocol: s.protocol, Network: srv.Network})
	}
	return srv
}

// A reception is a stream as its client receives it, with the times.
type reception struct {
	events   chan sse.Event // closed behind the last
	comments chan time.Time
	end      error // once events is closed
	body     io.Closer
}

func receive(t *testing.T, srv *ssetest.Server, lastEventID string) *reception {
	r := get(t, srv.URL)
	if lastEventID != "" {
		r.Header.Set("Last-Event-ID", lastEventID)
	}
	resp, err := srv.Client().Do(r)
	require.NoError(t, err)
	require.Equal(t, 200, resp.StatusCode)
	require.Equal(t, sse.MediaType, resp.Header.Get("Content-Type"))
	rec := &reception{make(chan sse.Event, 100), make(chan time.Time, 100), nil, resp.Body}
	t.Cleanup(func() { resp.Body.Close() })
	d := sse.NewDecoder(resp.Body)
	d.OnComment(func(string) { rec.comments <- time.Now() })
	go func() {
		defer close(rec.events)
		for {
			ev, err := d.Decode()
			if err != nil {
				rec.end = err
				return
			}
			rec.events <- ev
		}
	}()
	return rec
}

func TestStreamsWorkInWhateverABrokerIsServedBy(t *testing.T) {
	for _, s := range surroundings() {
		t.Run(s.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const heartbeat = 5 * time.Second
				b := newBroker(t, &broker.Options{Heartbeat: heartbeat, Detach: s.detach, Compress: s.compress, Store: namedStore(nil)})
				srv := s.serve(t, b)
				start := time.Now()
				first := receive(t, srv, "")
				assert.Equal(t, start, time.Now(), "the headers come at once")

				// Events arrive when they are published, also after a silence, in
				// which there are heartbeats.
				for i, silence := range []time.Duration{0, time.Second, 3 * time.Second, time.Minute} {
					time.Sleep(silence)
					published := time.Now()
					id := publish(t, b, i, i)[0]
					assert.Equal(t, sse.Event{ID: id, Data: fmt.Sprint(i)}, <-first.events)
					assert.Equal(t, published, time.Now())
				}
				synctest.Wait()
				assert.GreaterOrEqual(t, len(first.comments), 9, "in a minute")
				for last := <-first.comments; len(first.comments) > 0; {
					beat := <-first.comments
					assert.LessOrEqual(t, beat.Sub(last), heartbeat*5/4)
					last = beat
				}

				// The server notices who goes, and has what it missed.
				require.NoError(t, first.body.Close())
				synctest.Wait()
				assert.Equal(t, 0, b.Stats().Subscribers)
				publish(t, b, 4, 6)
				second := receive(t, srv, "4")
				for i := 4; i <= 6; i++ {
					assert.Equal(t, sse.Event{ID: fmt.Sprint(i + 1), Data: fmt.Sprint(i)}, <-second.events)
				}

				// The end is clean, however long nothing was sent.
				time.Sleep(time.Minute)
				publish(t, b, 7, 7)
				require.NoError(t, b.Shutdown(t.Context()))
				assert.Equal(t, "7", (<-second.events).Data)
				_, more := <-second.events
				assert.False(t, more)
				assert.Equal(t, io.EOF, second.end)
			})
		})
	}
}
