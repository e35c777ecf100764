package broker_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/client"
	"github.com/fanfare-go/fanfare/sse"
	"github.com/fanfare-go/fanfare/sse/ssetest"
)

func TestAStreamEndsWhenItIsOldEnoughAndNotWithOthers(t *testing.T) {
	for name, beat := range map[string]time.Duration{"idle": time.Hour, "kept awake": 100 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const streams, age = 100, 100 * time.Second
				b := newBroker(t, &broker.Options{MaxAge: age, Heartbeat: beat})
				sub := subscribe(t, b)
				began := time.Now()
				var all sync.WaitGroup
				var mu sync.Mutex
				var ages []time.Duration
				for range streams {
					s := connect(t, b, "")
					all.Go(func() {
						assert.NoError(t, s.Wait())
						mu.Lock()
						defer mu.Unlock()
						ages = append(ages, time.Since(began))
					})
				}
				all.Wait()
				slices.Sort(ages)
				require.Len(t, ages, streams)
				assert.GreaterOrEqual(t, ages[0], age*8/10)
				assert.LessOrEqual(t, ages[streams-1], age)
				assert.Less(t, ages[0], age*83/100)
				assert.Greater(t, ages[streams-1], age*92/100)
				for i := range streams - 25 {
					require.GreaterOrEqual(t, ages[i+25]-ages[i], time.Second, "a quarter of them at once")
				}
				time.Sleep(10 * age)
				publish(t, b, 1, 1)
				assert.Equal(t, []string{"1"}, take(t, sub, 1), "in process nothing ages")
			})
		})
	}
}

func TestThroughEndsOfOldStreamsNothingIsLost(t *testing.T) {
	for _, detach := range []bool{false, true} {
		b := newBroker(t, &broker.Options{MaxAge: 50 * time.Millisecond, Detach: detach, Backlog: -1})
		srv := httptest.NewServer(b)
		var ends atomic.Int64
		var c *client.Client
		c = client.New(srv.URL, &client.Options{OnRetry: func(err error, _ time.Duration) {
			assert.Equal(t, io.EOF, err, "the end is clean")
			ends.Add(1)
			c.Reconnect()
		}})
		ctx, stop := context.WithCancel(t.Context())
		var last int
		var publishing sync.WaitGroup
		publishing.Go(func() {
			for ends.Load() < 10 && t.Context().Err() == nil {
				last++
				publish(t, b, last, last)
				time.Sleep(time.Millisecond)
			}
			last++
			_, err := b.Publish(t.Context(), sse.Event{Type: "end", Data: strconv.Itoa(last)})
			assert.NoError(t, err)
		})
		want := 0
		for ev, err := range c.Events(ctx) {
			require.NoError(t, err)
			want++
			require.Equal(t, strconv.Itoa(want), ev.Data)
			if ev.Type == "end" {
				break
			}
		}
		publishing.Wait()
		assert.Equal(t, last, want)
		stop()
		require.NoError(t, b.Close())
		srv.Close()
	}
}

func TestEndEndsThoseThatMatch(t *testing.T) {
	for _, protocol := range ssetest.Protocols {
		t.Run(protocol.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var out atomic.Bool // whether Ann has logged out
				b := newBroker(t, &broker.Options{
					Caller: func(r *http.Request) string { return r.URL.Query().Get("user") },
					Topics: func(r *http.Request) ([]string, error) {
						if out.Load() && r.URL.Query().Get("user") == "ann" {
							return nil, errors.New("logged out")
						}
						return nil, nil
					},
				})
				srv := ssetest.Serve(t, b, &ssetest.ServerOptions{Protocol: protocol})
				get := func(user string) *http.Response {
					resp, err := srv.Client().Do(get(t, srv.URL+"/?user="+user))
					require.NoError(t, err)
					t.Cleanup(func() { resp.Body.Close() })
					return resp
				}
				ann, bob := get("ann"), get("bob")
				sub := subscribe(t, b)
				time.Sleep(time.Minute)
				out.Store(true)
				assert.Equal(t, 1, b.End(func(s broker.Subscriber) bool { return s.Caller == "ann" }))
				assert.Equal(t, 0, b.End(func(s broker.Subscriber) bool { return s.Caller == "ann" }))
				publish(t, b, 1, 1)
				require.Equal(t, 2, b.Stats().Subscribers)
				said, err := io.ReadAll(ann.Body)
				require.NoError(t, err, "a clean end")
				assert.NotContains(t, string(said), "data")
				assert.Equal(t, 403, get("ann").StatusCode)
				assert.Equal(t, []string{"1"}, take(t, sub, 1))
				assert.Equal(t, 1, b.End(func(s broker.Subscriber) bool { return s.Caller == "" }))
				_, err = pending(t, sub)
				assert.Equal(t, broker.ErrClosed, err)
				require.NoError(t, b.Shutdown(t.Context()))
				said, err = io.ReadAll(bob.Body)
				require.NoError(t, err)
				assert.Contains(t, string(said), "data: 1\n")
			})
		})
	}
}

func TestEndEndsDetachedStreams(t *testing.T) {
	b := newBroker(t, &broker.Options{Detach: true, Topics: broker.AnyQueryTopic("t")})
	srv := httptest.NewServer(b)
	defer srv.Close()
	_, one := open(t, srv.URL+"/?t=one", "")
	_, two := open(t, srv.URL+"/?t=two", "")
	time.Sleep(10 * time.Millisecond) // one of them may be with its shard by now, or not
	assert.Equal(t, 1, b.End(func(s broker.Subscriber) bool { return s.Topics[0] == "one" }))
	require.Equal(t, 1, b.Stats().Subscribers)
	publish(t, b, 1, 1, "one", "two")
	said, err := io.ReadAll(one.Body)
	require.NoError(t, err, "a clean end")
	assert.NotContains(t, string(said), "data")
	require.NoError(t, b.Shutdown(t.Context()))
	said, err = io.ReadAll(two.Body)
	require.NoError(t, err)
	assert.Contains(t, string(said), "data: 1\n")
}

func TestNobodySlipsThroughBetweenTopicsAndEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b *broker.Broker
		asked := 0
		b = newBroker(t, &broker.Options{Topics: func(*http.Request) ([]string, error) {
			if asked++; asked > 1 {
				return nil, errors.New("logged out")
			}
			assert.Equal(t, 0, b.End(func(broker.Subscriber) bool { return true }))
			return nil, nil // as good as it was when it was asked
		}})
		s := connect(t, b, "")
		require.Equal(t, 403, s.Code())
	})
}

func TestWhoIsEndedBeforeTheStreamBeginsComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &hanging{Store: broker.NewMemoryStore(nil)}
		b := newBroker(t, &broker.Options{Store: store})
		s := connect(t, b, "")
		synctest.Wait()
		assert.Equal(t, 1, b.End(func(broker.Subscriber) bool { return true }))
		require.NoError(t, s.Wait())
		assert.Equal(t, 200, s.Code())
		assert.Equal(t, "text/event-stream", s.Header().Get("Content-Type"))
		assert.Regexp(t, `^retry: \d{4}\n\n$`, s.Body())
	})
}

// hanging does not say what is newest.
type hanging struct{ broker.Store }

func (hanging) Last(ctx context.Context) (string, error) {
	<-ctx.Done()
	return "", context.Cause(ctx)
}
