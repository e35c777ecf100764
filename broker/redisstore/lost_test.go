package redisstore_test

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/broker/redisstore"
)

// save returns what a replica has of the stream that gets nothing from now on.
func (e *engine) save(name string) (dump string) {
	e.t.Helper()
	dump, err := connect(e.t, e.addr()).Dump(e.t.Context(), "{"+name+"}:events").Result()
	require.NoError(e.t, err)
	return dump
}

// failOver has that replica take over.
func (e *engine) failOver(name, dump string) {
	e.t.Helper()
	time.Sleep(2 * time.Millisecond) // no event has the ID of one that is lost
	require.NoError(e.t, connect(e.t, e.addr()).RestoreReplace(e.t.Context(), "{"+name+"}:events", 0, dump).Err())
}

// ranged returns the data of the events that q asks for, and the error at the end.
func ranged(ctx context.Context, s *redisstore.Store, q broker.Query) (got []string, end error) {
	for ev, err := range s.Range(ctx, q) {
		if err != nil {
			return got, err
		}
		got = append(got, ev.Data)
	}
	return got, nil
}

func TestACursorIntoWhatAFailoverLostIsAGapWhateverCameSince(t *testing.T) {
	t.Parallel()
	e, name := startEngine(t), newName()
	s := open(t, connect(t, e.addr()), redisstore.Options{Name: name, MaxEvents: 2})
	add(t, s, "1", "2", "3")
	replica := e.save(name)
	lost := add(t, s, "lost 4", "lost 5")
	e.failOver(name, replica)
	for _, data := range [][]string{nil, {"new 4"}, {"new 5"}, {"6"}, {"7"}} { // the last trims what has the lost one's number
		add(t, s, data...)
		_, err := ranged(t.Context(), s, broker.Query{After: lost[1]})
		assert.Equal(t, broker.ErrGap, err, "%v", data)
	}
}

func TestARangeThroughWhatAFailoverLostIsAGap(t *testing.T) {
	t.Parallel()
	e, name := startEngine(t), newName()
	s := open(t, connect(t, e.addr()), redisstore.Options{Name: name})
	ids := add(t, s, "1", "2", "3")
	replica := e.save(name)
	lost := add(t, s, "lost 4", "lost 5")
	e.failOver(name, replica)
	for _, data := range [][]string{nil, {"new 4", "new 5", "6"}} {
		add(t, s, data...)
		got, err := ranged(t.Context(), s, broker.Query{After: ids[0], Through: lost[1]})
		assert.Equal(t, []string{"2", "3"}, got)
		assert.Equal(t, broker.ErrGap, err)
		got, err = ranged(t.Context(), s, broker.Query{Through: lost[1]})
		assert.Equal(t, []string{"1", "2", "3"}, got)
		assert.NoError(t, err, "nothing comes before it in which it could be missing")
	}
	add(t, s, "7")
	_, err := ranged(t.Context(), s, broker.Query{After: ids[0], Through: lost[1], Newest: 1})
	assert.NoError(t, err)
}

func TestARangeUnderAFailoverEnds(t *testing.T) {
	t.Parallel()
	e, name := startEngine(t), newName()
	s := open(t, connect(t, e.addr()), redisstore.Options{Name: name, PageSize: 1})
	ids := add(t, s, "1", "2", "3")
	replica := e.save(name)
	add(t, s, "lost 4", "lost 5")
	var got []string
	var end error
	for ev, err := range s.Range(t.Context(), broker.Query{After: ids[0]}) {
		if err != nil {
			end = err
		} else if got = append(got, ev.Data); len(got) == 1 {
			e.failOver(name, replica)
		}
	}
	assert.Equal(t, []string{"2", "3"}, got)
	assert.Equal(t, broker.ErrGap, end)
}

func TestAFailoverIsAGapForWhoHasWhatItLost(t *testing.T) {
	t.Parallel()
	e, name := startEngine(t), newName()
	b := newBroker(t, open(t, connect(t, e.addr()), redisstore.Options{Name: name}))
	ids := publish(t, b, 1, 3)
	replica := e.save(name)
	live := resume(t, b, ids[2])
	publish(t, b, 4, 5)
	assert.Equal(t, numbers(4, 5), take(t, live, 2))
	e.failOver(name, replica)
	assert.Equal(t, []string{"gap:"}, take(t, live, 1), "before anything is published")
	back := resume(t, b, ids[0])
	publish(t, b, 6, 7)
	assert.Equal(t, numbers(6, 7), take(t, live, 2))
	assert.Equal(t, []string{"2", "3", "6", "7"}, take(t, back, 4), "who has none of it misses nothing")
}

func TestAFailoverToAServerWhoseClockIsBehindLosesNothingSilently(t *testing.T) {
	t.Parallel()
	e, name := startEngine(t), newName()
	client := connect(t, e.addr())
	b := newBroker(t, open(t, client, redisstore.Options{Name: name}))
	ids := publish(t, b, 1, 3)
	replica := e.save(name)
	sub := resume(t, b, ids[2])
	id := fmt.Sprintf("%d-4", time.Now().Add(time.Minute).UnixMilli()) // as a server gives it whose clock is ahead
	require.NoError(t, client.XAdd(t.Context(), &redis.XAddArgs{Stream: "{" + name + "}:events", ID: id,
		Values: []string{"topics", "a", "data", "lost 4"}}).Err())
	assert.Equal(t, []string{"lost 4"}, take(t, sub, 1))
	e.failOver(name, replica)
	assert.Equal(t, []string{"gap:"}, take(t, sub, 1))
	publish(t, b, 5, 9)
	assert.Equal(t, numbers(5, 9), take(t, sub, 5))
}

func TestAPageOfLargeEventsIsShort(t *testing.T) {
	t.Parallel()
	e, name := startEngine(t), newName()
	s := open(t, connect(t, e.addr()), redisstore.Options{Name: name})
	large := strings.Repeat("x", 1<<20)
	const n = 50
	ids := add(t, s, "0")
	for range n {
		add(t, s, large)
	}
	heap := func() int {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	before := heap()
	for range s.Range(t.Context(), broker.Query{}) {
		assert.Less(t, heap()-before, 16<<20, "held by a Range that is at its first event")
		break
	}
	// 5 s for all of them; a request of connect's may take 2 s.
	p := newSlowProxy(t, e.addr(), 10<<20)
	far := open(t, connect(t, p.addr()), redisstore.Options{Name: name})
	got, err := ranged(t.Context(), far, broker.Query{After: ids[0]})
	require.NoError(t, err)
	assert.Equal(t, n, len(got))
	got, err = ranged(t.Context(), s, broker.Query{Newest: n}) // backwards
	require.NoError(t, err)
	assert.Equal(t, n, len(got))
}
