package broker_test

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

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/sse"
	"github.com/fanfare-go/fanfare/sse/ssetest"
)

// Streams that are closed already may be in their last write, for which Close has
// to care as for any other: a client that does not read holds it.

func TestCloseFreesTheLastWriteOfAStreamThatWasEnded(t *testing.T) {
	for _, how := range []string{"End", "MaxAge"} {
		for _, protocol := range ssetest.Protocols {
			t.Run(how+" "+protocol.String(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					opts := &broker.Options{WriteTimeout: time.Hour}
					if how == "MaxAge" {
						opts.MaxAge = time.Minute
					}
					b := newBroker(t, opts)
					srv := ssetest.Serve(t, b, &ssetest.ServerOptions{Protocol: protocol})
					resp, err := srv.Client().Get(srv.URL)
					require.NoError(t, err)
					defer resp.Body.Close()
					for range 100 {
						_, err := b.Publish(t.Context(), sse.Event{Data: strings.Repeat("x", 1<<18)})
						require.NoError(t, err)
					}
					synctest.Wait()
					if how == "End" {
						require.Equal(t, 1, b.End(func(broker.Subscriber) bool { return true }))
					} else {
						time.Sleep(2 * time.Minute)
					}
					synctest.Wait()
					start := time.Now()
					require.NoError(t, b.Close())
					require.NoError(t, srv.Shutdown(t.Context()))
					assert.Less(t, time.Since(start), time.Minute)
				})
			})
		}
	}
}

func TestAShutdownOutOfTimeFreesTheLastWriteOfAStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &broker.Options{WriteTimeout: time.Hour, NoPriming: true})
		srv := ssetest.Serve(t, b, &ssetest.ServerOptions{Network: ssetest.NewNetwork(&ssetest.NetworkOptions{Buffer: 8 << 10})})
		c := dial(t, srv, plainRequest)
		defer c.Close()
		synctest.Wait()
		for range 2 { // one is stuck in the middle, the other waits for it
			_, err := b.Publish(t.Context(), sse.Event{Data: strings.Repeat("x", 20<<10)})
			require.NoError(t, err)
			synctest.Wait()
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		ended := make(chan error, 1)
		go func() { ended <- b.Shutdown(ctx) }()
		synctest.Wait()
		_, err := io.ReadFull(c, make([]byte, 14<<10)) // so that the last write begins
		require.NoError(t, err)
		require.Error(t, <-ended)
		start := time.Now()
		require.NoError(t, srv.Shutdown(t.Context()))
		assert.Less(t, time.Since(start), time.Minute)
	})
}

// hooked is a ResponseWriter that calls hook as its read deadline is set, which is
// the first that sse.NewWriter does.
type hooked struct {
	http.ResponseWriter
	hook func()
}

func (h *hooked) Unwrap() http.ResponseWriter { return h.ResponseWriter }

func (h *hooked) SetReadDeadline(t time.Time) error {
	h.hook()
	return http.NewResponseController(h.ResponseWriter).SetReadDeadline(t)
}

func TestCloseAsAStreamWithoutWriteTimeoutBeginsEndsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &broker.Options{WriteTimeout: -1, Snapshot: func(*http.Request, []string) (events []sse.Event, _ error) {
			for range 100 {
				events = append(events, sse.Event{Data: strings.Repeat("x", 10<<10)})
			}
			return events, nil
		}})
		returned := make(chan struct{})
		srv := ssetest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			defer close(returned)
			b.ServeHTTP(&hooked{w, func() { b.Close() }}, r)
		}), nil)
		defer dial(t, srv, plainRequest).Close()
		<-returned
	})
}

// Nothing that a handler can do frees a write of the connection that all streams of
// a client share: the http.Server has to.
func TestAnHTTP2ConnectionThatIsNotReadEndsByTheServersWriteByteTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := broker.New(&broker.Options{WriteTimeout: time.Second})
		nw := ssetest.NewNetwork(nil)
		ended := make(chan struct{})
		srv := ssetest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			b.ServeHTTP(w, r)
			close(ended)
		}), &ssetest.ServerOptions{Protocol: ssetest.H2C, Network: nw, Config: &http.Server{
			HTTP2: &http.HTTP2Config{WriteByteTimeout: 10 * time.Second},
		}})
		conn, err := nw.Dial("tcp", strings.TrimPrefix(srv.URL, "http://"))
		require.NoError(t, err)
		defer conn.Close()
		const (
			windows = "\x00\x00\x06\x04\x00\x00\x00\x00\x00" + "\x00\x04\x7f\xff\xff\xff" + // of every stream
				"\x00\x00\x04\x08\x00\x00\x00\x00\x00" + "\x7f\xff\x00\x00" // and of the connection: as large as can be
			fields = "\x82\x84\x86\x41\x08sse.test"
		)
		_, err = io.WriteString(conn, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"+windows+
			"\x00\x00"+string(rune(len(fields)))+"\x01\x05\x00\x00\x00\x01"+fields)
		require.NoError(t, err)
		time.Sleep(time.Second)
		for range 1000 {
			_, err := b.Publish(t.Context(), sse.Event{Data: strings.Repeat("x", 1000)})
			require.NoError(t, err)
		}
		start := time.Now()
		<-ended
		assert.Less(t, time.Since(start), 30*time.Second)
		require.NoError(t, b.Close())
	})
}
