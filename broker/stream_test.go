package broker_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/sse"
	"github.com/fanfare-go/fanfare/sse/ssetest"
)

// namedStore gives events the IDs 1, 2, 3…, which makes streams readable.
func namedStore(opts *broker.MemoryOptions) broker.Store {
	return &named{Store: broker.NewMemoryStore(opts)}
}

type named struct {
	broker.Store
	n atomic.Int64
}

func (s *named) Append(ctx context.Context, ev sse.Event, topics []string) (string, error) {
	ev.ID = numbers(int(s.n.Add(1)), int(s.n.Load()))[0]
	return s.Store.Append(ctx, ev, topics)
}

// stream is what a client of b sees of a stream: its bytes. To be used in a
// bubble.
type stream struct {
	*ssetest.Recorder
	read int
}

func connect(t testing.TB, h http.Handler, lastEventID string) *stream {
	return &stream{Recorder: ssetest.Record(t, h, ssetest.NewRequest("/", lastEventID))}
}

// news returns what has arrived since it was called last.
func (s *stream) news() string {
	synctest.Wait()
	body := s.Body()
	news := body[s.read:]
	s.read = len(body)
	return news
}

func TestAStreamWithoutACursorBeginsWithTheNewestID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &broker.Options{Store: namedStore(nil)})
		publish(t, b, 1, 3, "other")
		s := connect(t, b, "")
		assert.Equal(t, "id: 3\n\n", s.news())
		publish(t, b, 4, 4)
		assert.Equal(t, block("4", "4"), s.news())
	})
}

func TestAStreamBeforeAnyEventHasACursor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, nil)
		s := connect(t, b, "")
		first := s.news()
		require.Regexp(t, `^id: \d+-0\n\n$`, first)
		cursor := strings.TrimSuffix(strings.TrimPrefix(first, "id: "), "\n\n")
		s.Close()

		id := publish(t, b, 1, 1)[0]
		assert.Equal(t, block(id, "1"), connect(t, b, cursor).news())
	})
}

func TestABacklogComesBeforeTheNewestID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for backlog, want := range map[int]string{
			2:  block("2", "2") + block("4", "4") + "id: 5\n\n",
			-1: block("1", "1") + block("2", "2") + block("4", "4") + "id: 5\n\n",
		} {
			b := newBroker(t, &broker.Options{Store: namedStore(nil), Backlog: backlog})
			publish(t, b, 1, 2)
			publish(t, b, 3, 3, "other")
			publish(t, b, 4, 4)
			publish(t, b, 5, 5, "other")
			s := connect(t, b, "")
			assert.Equal(t, want, s.news())
			publish(t, b, 6, 6)
			assert.Equal(t, block("6", "6"), s.news())
		}
	})
}

func TestASnapshotTakesThePlaceOfTheBacklog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b *broker.Broker
		b = newBroker(t, &broker.Options{
			Store:   namedStore(nil),
			Backlog: -1,
			Snapshot: func(r *http.Request, topics []string) ([]sse.Event, error) {
				assert.Equal(t, "/", r.URL.Path)
				assert.Equal(t, []string{""}, topics)
				publish(t, b, 3, 3) // the queue is open
				return []sse.Event{{ID: "not sent", Type: "state", Data: "x"}, {Data: "y"}}, nil
			},
		})
		publish(t, b, 1, 2)
		s := connect(t, b, "")
		state := "event: state\ndata: x\n\n" + block("", "y")
		assert.Equal(t, state+"id: 2\n\n"+block("3", "3"), s.news())
		s.Close()

		// A good cursor needs no state.
		assert.Equal(t, block("2", "2")+block("3", "3"), connect(t, b, "1").news())

		// A lost one does.
		s = connect(t, b, "lost")
		assert.Equal(t, "event: gap\ndata: \n\n"+state+"id: 3\n\n"+block("4", "3"), s.news())
	})
}

func TestASnapshotThatFailsEndsTheStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log records
		b := newBroker(t, &broker.Options{
			Snapshot: func(*http.Request, []string) ([]sse.Event, error) { return nil, errors.New("secret") },
			Logger:   log.logger(slog.LevelWarn),
		})
		s := connect(t, b, "")
		require.NoError(t, s.Wait())
		assert.Equal(t, 200, s.Code())
		assert.Empty(t, s.Body())
		assert.Contains(t, log.String(), `level=WARN msg="broker: snapshot failed" remote=`)
		assert.Contains(t, log.String(), "error=secret")
	})
}

func TestTheContextOfASnapshotEndsWithTheSubscriber(t *testing.T) {
	type key struct{}
	for _, detach := range []bool{false, true} {
		for name, end := range map[string]func(*broker.Broker, context.CancelFunc){
			"client": func(_ *broker.Broker, leave context.CancelFunc) { leave() },
			"Close":  func(b *broker.Broker, _ context.CancelFunc) { b.Close() },
			"End":    func(b *broker.Broker, _ context.CancelFunc) { b.End(func(broker.Subscriber) bool { return true }) },
		} {
			t.Run(fmt.Sprint(name, " detach=", detach), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var log records
					asked, ended := make(chan struct{}), make(chan error, 1)
					b := newBroker(t, &broker.Options{
						Detach: detach,
						Logger: log.logger(slog.LevelWarn),
						Snapshot: func(r *http.Request, _ []string) ([]sse.Event, error) {
							close(asked)
							assert.Equal(t, "value", r.Context().Value(key{}))
							<-r.Context().Done()
							ended <- r.Context().Err()
							return nil, r.Context().Err()
						},
					})
					srv := ssetest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						b.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), key{}, "value")))
					}), nil)
					ctx, leave := context.WithCancel(t.Context())
					defer leave()
					req, err := http.NewRequestWithContext(ctx, "GET", srv.URL, nil)
					require.NoError(t, err)
					res, err := srv.Client().Do(req)
					require.NoError(t, err)
					defer res.Body.Close()
					<-asked
					end(b, leave)
					assert.Equal(t, context.Canceled, <-ended)
					synctest.Wait()
					assert.Equal(t, 0, b.Stats().Subscribers)
					assert.Empty(t, log.String(), "that is no failure of the Snapshot")
				})
			})
		}
	}
}

func TestAGoodCursorIsReplayedWhatItMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &broker.Options{Store: namedStore(nil), Backlog: 5})
		publish(t, b, 1, 3)
		publish(t, b, 4, 4, "other")
		s := connect(t, b, "1")
		assert.Equal(t, block("2", "2")+block("3", "3"), s.news())
		publish(t, b, 5, 5)
		assert.Equal(t, block("5", "5"), s.news())
		assert.Equal(t, "", connect(t, b, "5").news())
	})
}

func TestALostCursorGetsTheGapAndAllThatIsHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gap := "event: gone\ndata: sorry\n\n"
		b := newBroker(t, &broker.Options{
			Store:   namedStore(&broker.MemoryOptions{MaxEvents: 3}),
			Gap:     sse.Event{ID: "not sent", Type: "gone", Data: "sorry"},
			Backlog: 1,
		})
		publish(t, b, 1, 4)
		publish(t, b, 5, 5, "other")
		for _, cursor := range []string{"1", "foreign", "\xff\xfe", "99", strings.Repeat("x", 1<<16)} {
			s := connect(t, b, cursor)
			assert.Equal(t, gap+block("3", "3")+block("4", "4"), s.news(), cursor)
			s.Close()
		}

		// When nothing is held for the topics, the block moves the cursor.
		publish(t, b, 6, 8, "other")
		s := connect(t, b, "1")
		assert.Equal(t, gap+"id: 8\n\n", s.news())
		publish(t, b, 9, 9)
		assert.Equal(t, block("9", "9"), s.news())
	})
}

func TestAnyCursorIsAGapWithoutAStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &broker.Options{Store: broker.Discard})
		s, fresh := connect(t, b, "1"), connect(t, b, "")
		assert.Equal(t, "event: gap\ndata: \n\n", s.news())
		assert.Equal(t, "", fresh.news())
		publish(t, b, 1, 1)
		assert.Equal(t, block("", "1"), s.news())
		assert.Equal(t, block("", "1"), fresh.news())
		time.Sleep(15 * time.Second)
		assert.Equal(t, ":\n\n", s.news())
	})
}

func TestTheCursorMayComeInTheQuery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &broker.Options{Store: namedStore(nil)})
		publish(t, b, 1, 3)
		s := &stream{Recorder: ssetest.Record(t, b, ssetest.NewRequest("/?lastEventId=2", ""))}
		assert.Equal(t, block("3", "3"), s.news())
		s = &stream{Recorder: ssetest.Record(t, b, ssetest.NewRequest("/?lastEventId=2", "1"))}
		assert.Equal(t, block("2", "2")+block("3", "3"), s.news(), "the header is newer: it comes with a reconnect")
	})
}

func TestAnIdleStreamHasAHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &broker.Options{Store: namedStore(nil), Heartbeat: 10 * time.Second})
		s := connect(t, b, "")
		s.news()
		time.Sleep(9 * time.Second)
		publish(t, b, 1, 1)
		assert.Equal(t, block("1", "1"), s.news())
		time.Sleep(9 * time.Second)
		assert.Equal(t, "", s.news())
		time.Sleep(time.Second)
		assert.Equal(t, ":\n\n", s.news())
		time.Sleep(20 * time.Second)
		assert.Equal(t, ":\n\n:\n\n", s.news())
	})
}

func TestAHeartbeatMovesTheCursorOfAQuietTopic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &broker.Options{Store: namedStore(nil)})
		publish(t, b, 1, 1)
		fresh, resumed := connect(t, b, ""), connect(t, b, "1")
		fresh.news()
		publish(t, b, 2, 3, "other")
		for _, want := range []string{"id: 3\n\n", ":\n\n"} {
			time.Sleep(15 * time.Second)
			assert.Equal(t, want, fresh.news())
			assert.Equal(t, want, resumed.news())
		}
		// Events that were replayed from other topics count, too.
		s := connect(t, b, "2")
		assert.Equal(t, "", s.news())
		time.Sleep(15 * time.Second)
		assert.Equal(t, "id: 3\n\n", s.news())
	})
}

func TestAHeartbeatIsNeverAheadOfTheQueue(t *testing.T) {
	// A stream whose heartbeat is due at the very moment at which events come:
	// an ID that is sent before an event with a smaller one loses that event.
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &broker.Options{Store: namedStore(nil), Heartbeat: time.Millisecond})
		var streams []*stream
		for range 20 {
			streams = append(streams, connect(t, b, ""))
		}
		for i := range 100 {
			time.Sleep(time.Millisecond)
			publish(t, b, 2*i+1, 2*i+1)
			publish(t, b, 2*i+2, 2*i+2, "other")
		}
		synctest.Wait()
		for _, s := range streams {
			last, events := 0, 0
			for line := range strings.SplitSeq(s.Body(), "\n") {
				if id, ok := strings.CutPrefix(line, "id: "); ok {
					var n int
					for _, digit := range id[max(0, strings.LastIndex(id, "-")+1):] {
						n = 10*n + int(digit-'0')
					}
					require.True(t, n >= last, "%d after %d", n, last)
					last = n
				}
				if strings.HasPrefix(line, "data: ") {
					events++
				}
			}
			assert.Equal(t, 100, events)
		}
	})
}

func TestNoPrimingSendsNoBlocksThatOnlySetTheID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &broker.Options{Store: namedStore(&broker.MemoryOptions{MaxEvents: 1}), NoPriming: true})
		publish(t, b, 1, 2, "other")
		fresh, lost := connect(t, b, ""), connect(t, b, "x")
		assert.Equal(t, "", fresh.news())
		assert.Equal(t, "event: gap\ndata: \n\n", lost.news())
		publish(t, b, 3, 3, "other")
		time.Sleep(15 * time.Second)
		assert.Equal(t, ":\n\n", fresh.news())
		publish(t, b, 4, 4)
		assert.Equal(t, block("4", "4"), fresh.news())
	})
}

func TestQueuedEventsAreSentWithOneFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &broker.Options{Store: namedStore(nil)})
		var flushes atomic.Int64
		h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			b.ServeHTTP(flushCounter{w, &flushes}, r)
		})
		s := connect(t, h, "")
		s.news()
		publish(t, b, 1, 1)
		synctest.Wait()
		idle := flushes.Load()
		publish(t, b, 2, 2)
		synctest.Wait()
		assert.Equal(t, idle+1, flushes.Load())

		// A replay is one flush, whatever its length.
		flushes.Store(0)
		publish(t, b, 3, 100)
		synctest.Wait()
		flushes.Store(0)
		s = connect(t, h, "1")
		assert.Equal(t, 99, strings.Count(s.news(), "data:"))
		assert.LessOrEqual(t, flushes.Load(), int64(2), "the headers and the events")
	})
}

type flushCounter struct {
	http.ResponseWriter
	n *atomic.Int64
}

func (f flushCounter) Unwrap() http.ResponseWriter { return f.ResponseWriter }
func (f flushCounter) FlushError() error {
	f.n.Add(1)
	return http.NewResponseController(f.ResponseWriter).Flush()
}

// failing is a Store whose Last and Range fail on demand, Range after some
// elements.
type failing struct {
	broker.Store
	elements int
	given    atomic.Int64 // so far, while it failed
	err      atomic.Pointer[error]
}

func (f *failing) set(err error) {
	if err == nil {
		f.err.Store(nil)
	} else {
		f.err.Store(&err)
	}
}

func (f *failing) Last(ctx context.Context) (string, error) {
	if err := f.err.Load(); err != nil {
		return "", *err
	}
	return f.Store.Last(ctx)
}

func (f *failing) Range(ctx context.Context, q broker.Query) iter.Seq2[sse.Event, error] {
	return func(yield func(sse.Event, error) bool) {
		for ev, e := range f.Store.Range(ctx, q) {
			if err := f.err.Load(); err != nil && f.given.Add(1) > int64(f.elements) {
				yield(sse.Event{}, *err)
				return
			}
			if !yield(ev, e) {
				return
			}
		}
		if err := f.err.Load(); err != nil {
			yield(sse.Event{}, *err)
		}
	}
}

func TestAStoreThatFailsBeforeTheHeadersIs503(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &failing{Store: namedStore(nil)}
		store.set(errors.New("secret"))
		b := newBroker(t, &broker.Options{Store: store})
		for _, cursor := range []string{"", "1"} {
			s := connect(t, b, cursor)
			require.NoError(t, s.Wait())
			assert.Equal(t, 503, s.Code())
			assert.NotEmpty(t, s.Header().Get("Retry-After"))
			assert.Equal(t, "Service Unavailable\n", s.Body())
		}
		assert.Equal(t, 0, b.Stats().Subscribers)

		store.set(nil)
		assert.Equal(t, 200, connect(t, b, "").Code())
		publish(t, b, 1, 1)
		store.set(errors.New("secret"))
		publish(t, b, 2, 2)
		assert.Equal(t, 503, connect(t, b, "1").Code())
	})
}

func TestAStoreThatFailsWhileASubscriberCatchesUpIsAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &failing{Store: broker.NewMemoryStore(nil), elements: 1}
		b := newBroker(t, &broker.Options{Store: store, QueueSize: 2})
		sub := subscribe(t, b)
		publish(t, b, 1, 20)
		synctest.Wait()
		store.set(errors.New("away"))
		got, err := pending(t, sub)
		require.NoError(t, err)
		assert.Equal(t, numbers(1, 3), got, "the queue, and the one event before the failure")
		time.AfterFunc(time.Minute, func() { store.set(nil) })
		start := time.Now()
		assert.Equal(t, numbers(4, 20), take(t, sub, 17))
		assert.Less(t, time.Since(start), time.Minute+10*time.Second)
	})
}

func TestAStreamThatCatchesUpOnAFailingStoreHasHeartbeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &failing{Store: namedStore(nil), elements: 1}
		b := newBroker(t, &broker.Options{Store: store, Heartbeat: time.Second})
		publish(t, b, 1, 20)
		store.set(errors.New("away")) // after one event: the headers are out by then
		s := connect(t, b, "x")
		time.Sleep(10 * time.Second)
		body := s.news()
		assert.Equal(t, 1, strings.Count(body, "event: gap\n"), body)
		assert.GreaterOrEqual(t, strings.Count(body, ":\n\n"), 8, body)
		store.set(nil)
		time.Sleep(10 * time.Second)
		assert.Contains(t, body+s.news(), "data: 20\n")
	})
}
