package broker_test

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/broker/storetest"
	"github.com/fanfare-go/fanfare/sse"
	"github.com/fanfare-go/fanfare/sse/ssetest"
)

// yielded ranges over sub for a minute of fake time and returns what comes.
func yielded(t *testing.T, sub *broker.Subscription) (got []string) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for ev, err := range sub.Events(ctx) {
		if err == nil {
			got = append(got, show(ev))
		}
	}
	return got
}

func TestAHoleThatTwoSetsOfTopicsHaveIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &broker.Options{QueueSize: 2, Store: broker.NewMemoryStore(&broker.MemoryOptions{MaxEvents: 5})})
		sub := subscribe(t, b, "a")
		publish(t, b, 1, 9, "a")
		synctest.Wait()
		require.NoError(t, sub.Add("b"))
		publish(t, b, 10, 30, "a")
		synctest.Wait()
		assert.Equal(t, append([]string{"1", "2", "gap:"}, numbers(26, 30)...), yielded(t, sub))
	})
}

// overtaken is a Store whose first Ranges meet eviction before there is an event.
type overtaken struct {
	broker.Store
	times int
}

func (o *overtaken) Range(ctx context.Context, q broker.Query) iter.Seq2[sse.Event, error] {
	if o.times--; o.times >= 0 {
		return gapAtOnce
	}
	return o.Store.Range(ctx, q)
}

func TestTheGapIsNotToldAgainWithEveryTry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &broker.Options{Store: &overtaken{broker.NewMemoryStore(nil), 5}})
		publish(t, b, 1, 3)
		assert.Equal(t, append([]string{"gap:"}, numbers(1, 3)...), yielded(t, resume(t, b, "unknown")))
		assert.Equal(t, uint64(1), b.Stats().Gaps)
	})
}

// knowing is a Follower that hears of it when an ID is compared that it never gave.
type knowing struct {
	*storetest.View
	strangers []string
}

func (k *knowing) Compare(a, b string) int {
	for _, id := range []string{a, b} {
		if k.View.Compare(id, "stranger") == 0 {
			k.strangers = append(k.strangers, id)
		}
	}
	return k.View.Compare(a, b)
}

func TestACursorThatTheStoreWasNotAskedAboutCountsForNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &knowing{View: storetest.NewLog().View()}
		b := newBroker(t, &broker.Options{Store: store})
		publish(t, b, 1, 3, "a", "b")
		synctest.Wait()
		sub := resume(t, b, "stranger", "a")
		sub.Remove("a")
		require.NoError(t, sub.Add("b"))
		time.AfterFunc(time.Second, func() { publish(t, b, 4, 6, "b") })
		assert.Equal(t, numbers(4, 6), yielded(t, sub))
		assert.Empty(t, store.strangers)
	})
}

// forgetful does not know a cursor, which it gave.
type forgetful struct {
	*storetest.View
	mu        sync.Mutex
	forgotten string
}

func (f *forgetful) Range(ctx context.Context, q broker.Query) iter.Seq2[sse.Event, error] {
	f.mu.Lock()
	defer f.mu.Unlock()
	if q.After != "" && q.After == f.forgotten {
		return gapAtOnce
	}
	return f.View.Range(ctx, q)
}

func TestNothingFromBeforeAddIsYieldedAfterAGapEither(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &forgetful{View: storetest.NewLog().View()}
		b := newBroker(t, &broker.Options{Store: store, QueueSize: 2})
		sub := subscribe(t, b, "a")
		synctest.Wait()
		publish(t, b, 1, 4, "a")
		publish(t, b, 5, 6, "b")
		newest := publish(t, b, 7, 7, "other")[0]
		synctest.Wait()
		require.NoError(t, sub.Add("b"))
		store.mu.Lock()
		store.forgotten = newest
		store.mu.Unlock()
		publish(t, b, 8, 8, "a")
		publish(t, b, 9, 9, "b")
		time.Sleep(time.Hour) // the Broker itself has them no more
		assert.Equal(t, []string{"1", "2", "3", "4", "gap:", "8", "9"}, yielded(t, sub))
	})
}

func TestAnEventThatIsLeftOutIsNoCursor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := broker.NewMemoryStore(nil)
		id, err := store.Append(t.Context(), sse.Event{Type: "two\nlines"}, []string{""})
		require.NoError(t, err)
		b := newBroker(t, &broker.Options{Store: store, Backlog: -1})
		assert.Equal(t, "id: "+id+"\n\n", connect(t, b, "").news())
		assert.Equal(t, gapBlock+"id: "+id+"\n\n", connect(t, b, "lost").news())
		assert.Zero(t, b.Stats().Delivered)
	})
}

// distant is a Follower whose Range takes as long as a round trip.
type distant struct{ *storetest.View }

func (d distant) Range(ctx context.Context, q broker.Query) iter.Seq2[sse.Event, error] {
	time.Sleep(time.Millisecond)
	return d.View.Range(ctx, q)
}

// A client comes to a Broker that lags behind the one it was on, and that catches
// up in a burst as the Store is asked. So it is slow before there is anything to
// write; and an answer that is no stream would end it for good.
func TestWhoIsDisconnectedBeforeTheHeadersGetsAStreamThatEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := storetest.NewLog()
		view := log.View()
		b := newBroker(t, &broker.Options{Store: distant{view}, Slow: broker.Disconnect})
		synctest.Wait()
		view.Pause()
		ahead := newBroker(t, &broker.Options{Store: log.View()})
		ids := publish(t, ahead, 1, 100)
		synctest.Wait()

		time.AfterFunc(500*time.Microsecond, view.Resume)
		s := ssetest.Record(t, b, ssetest.NewRequest("/", ids[99]))
		require.NoError(t, s.Wait())
		assert.Equal(t, 200, s.Code())
		assert.Equal(t, sse.MediaType, s.Header().Get("Content-Type"))
		assert.Regexp(t, `^retry: \d+\n\n$`, s.Body())
		assert.Equal(t, uint64(1), b.Stats().Disconnected)
	})
}

func state(*http.Request, []string) ([]sse.Event, error) { return []sse.Event{{Type: "state"}}, nil }

func TestAGapOfTheFollowerIsFollowedByTheSnapshot(t *testing.T) {
	for _, policy := range []broker.SlowPolicy{broker.CatchUp, broker.Conflate} {
		synctest.Test(t, func(t *testing.T) {
			log := storetest.NewLog()
			view := log.View()
			var told records
			b := newBroker(t, &broker.Options{Store: view, Slow: policy, Heartbeat: -1, Logger: told.logger(slog.LevelDebug), Snapshot: state})
			s := connect(t, b, "")
			publish(t, b, 1, 2)
			synctest.Wait()
			sub := subscribe(t, b)
			time.Sleep(time.Minute) // it is parked
			s.news()
			trimmed(t, log, view, "another")
			time.Sleep(20 * time.Second)
			id := publish(t, b, 10, 10)[0]
			assert.Regexp(t, "^"+gapBlock+"event: state\ndata: \n\nid: [^\n]+\n\n"+block(id, "10")+"$", s.news())
			assert.Equal(t, []string{"gap:", "10"}, yielded(t, sub), "in process there is none")
			assert.NotContains(t, told.String(), `slow" remote=1`)
			assert.Zero(t, b.Stats().CaughtUp)
		})
	}
}

func TestADetachedStreamGetsTheSnapshotAfterAGapOfTheFollowerToo(t *testing.T) {
	log := storetest.NewLog()
	view := log.View()
	b := newBroker(t, &broker.Options{Store: view, Detach: true, Snapshot: state})
	d, _ := open(t, loopback(t, b).URL, "")
	next := func() string {
		ev, err := d.Decode()
		require.NoError(t, err)
		return ev.Type + ev.Data
	}
	assert.Equal(t, "state", next())
	publish(t, b, 1, 2)
	assert.Equal(t, []string{"1", "2"}, []string{next(), next()})
	trimmed(t, log, view, "another")
	assert.Equal(t, []string{"gap", "state"}, []string{next(), next()})
	publish(t, b, 10, 10)
	assert.Equal(t, "10", next())
}

func TestShutdownServesWhatARetryFoundStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		view := storetest.NewLog().View()
		b := newBroker(t, &broker.Options{Store: view})
		sub := subscribe(t, b)
		publish(t, b, 1, 1)
		got := make(chan []string)
		go func() { got <- yielded(t, sub) }()
		synctest.Wait()
		view.Pause()
		view.LoseReplies(errors.New("lost"))
		_, err := b.Publish(t.Context(), sse.Event{ID: "mine", Data: "2"})
		require.Error(t, err)
		view.LoseReplies(nil)
		_, err = b.Publish(t.Context(), sse.Event{ID: "mine", Data: "2"})
		require.ErrorIs(t, err, broker.ErrDuplicate)
		time.AfterFunc(time.Second, view.Resume)
		require.NoError(t, b.Shutdown(t.Context()))
		assert.Equal(t, numbers(1, 2), <-got)
	})
}
