package broker_test

import (
	"context"
	"errors"
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

// A client that does not read may have room for everything but the last bytes,
// which net/http writes when the handler has returned. It does not hold the
// server for that.
func TestAServerShutsDownThoughAClientHasNoRoomForTheEnd(t *testing.T) {
	const buffer = 2 << 10
	// run ends a stream with one event to a client that does not read, and
	// returns how many bytes it got.
	run := func(t *testing.T, event, buffer int) (sent int) {
		b := newBroker(t, &broker.Options{NoPriming: true, Store: broker.Discard})
		srv := ssetest.Serve(t, b, &ssetest.ServerOptions{Network: ssetest.NewNetwork(&ssetest.NetworkOptions{Buffer: buffer})})
		c := dial(t, srv, plainRequest)
		defer c.Close()
		synctest.Wait()
		_, err := b.Publish(t.Context(), sse.Event{Data: strings.Repeat("x", event)})
		require.NoError(t, err)
		synctest.Wait()
		require.NoError(t, b.Shutdown(t.Context()))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		require.NoError(t, srv.Shutdown(ctx))
		got, _ := io.ReadAll(c)
		return len(got)
	}
	synctest.Test(t, func(t *testing.T) {
		const event = 1000
		fits := event + buffer - run(t, event, -1)
		complete, cut := 0, 0
		for size := fits - 30; size < fits+30; size++ {
			if n := run(t, size, buffer); n < buffer {
				complete++
			} else {
				cut++
			}
		}
		assert.Positive(t, complete)
		assert.Positive(t, cut)
	})
}

func TestTheEndIsCleanHoweverLongAgoTheLastWriteWas(t *testing.T) {
	for _, protocol := range ssetest.Protocols {
		t.Run(protocol.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBroker(t, &broker.Options{Heartbeat: -1, Snapshot: func(*http.Request, []string) ([]sse.Event, error) {
					time.Sleep(time.Hour)
					return nil, errors.New("too late")
				}})
				srv := ssetest.Serve(t, b, &ssetest.ServerOptions{Protocol: protocol})
				resp, err := srv.Client().Get(srv.URL)
				require.NoError(t, err)
				defer resp.Body.Close()
				body, err := io.ReadAll(resp.Body)
				assert.NoError(t, err)
				assert.Empty(t, body)
			})
		})
	}
}

func TestAWriteThatBeginsAfterCloseDoesNotWaitForItsClient(t *testing.T) {
	for _, protocol := range ssetest.Protocols {
		t.Run(protocol.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var b *broker.Broker
				b = newBroker(t, &broker.Options{
					WriteTimeout: time.Hour,
					Snapshot: func(*http.Request, []string) ([]sse.Event, error) {
						assert.NoError(t, b.Close())
						return []sse.Event{{Data: strings.Repeat("x", 8<<20)}}, nil
					},
				})
				srv := ssetest.Serve(t, b, &ssetest.ServerOptions{Protocol: protocol})
				resp, err := srv.Client().Get(srv.URL)
				require.NoError(t, err)
				start := time.Now()
				require.NoError(t, srv.Shutdown(t.Context()))
				assert.Less(t, time.Since(start), time.Minute)
				resp.Body.Close()
			})
		})
	}
}
