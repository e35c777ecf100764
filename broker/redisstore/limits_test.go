package redisstore_test

import (
	"context"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/broker/redisstore"
	"github.com/fanfare-go/fanfare/sse"
)

// held returns the data of the events held.
func held(t *testing.T, s *redisstore.Store) (got []string) {
	t.Helper()
	for ev, err := range s.Range(t.Context(), broker.Query{}) {
		require.NoError(t, err)
		got = append(got, ev.Data)
	}
	return got
}

// add appends events with these data.
func add(t *testing.T, s *redisstore.Store, data ...string) (ids []string) {
	t.Helper()
	for _, d := range data {
		id, err := s.Append(t.Context(), sse.Event{Data: d}, []string{"a"})
		require.NoError(t, err)
		ids = append(ids, id)
	}
	return ids
}

func TestEventsGoWhenTheyAreOld(t *testing.T) {
	t.Parallel()
	e := startEngine(t)
	s := open(t, connect(t, e.addr()), redisstore.Options{MaxAge: 1500 * time.Millisecond})
	ids := add(t, s, "1", "2")
	assert.Equal(t, []string{"1", "2"}, held(t, s))
	time.Sleep(2 * time.Second)
	ids = append(ids, add(t, s, "3")...)
	assert.Equal(t, []string{"3"}, held(t, s))

	// Nothing is missing after the newest that went.
	for _, err := range s.Range(t.Context(), broker.Query{After: ids[1]}) {
		require.NoError(t, err)
	}
	for _, err := range s.Range(t.Context(), broker.Query{After: ids[0]}) {
		require.ErrorIs(t, err, broker.ErrGap)
	}
}

func TestAnIDIsRememberedForItsTimeOnly(t *testing.T) {
	t.Parallel()
	e := startEngine(t)
	brief := open(t, connect(t, e.addr()), redisstore.Options{Name: newName(), Duplicates: time.Second})
	never := open(t, connect(t, e.addr()), redisstore.Options{Name: newName(), Duplicates: -1})
	again := func(s *redisstore.Store) error {
		_, err := s.Append(t.Context(), sse.Event{ID: "order-7"}, []string{"a"})
		return err
	}
	require.NoError(t, again(brief))
	require.ErrorIs(t, again(brief), broker.ErrDuplicate)
	time.Sleep(2 * time.Second)
	require.NoError(t, again(brief))
	require.NoError(t, again(never))
	require.NoError(t, again(never))
}

func TestWhatIsNoEventIsLeftOut(t *testing.T) {
	t.Parallel()
	e := startEngine(t)
	client, name := connect(t, e.addr()), newName()
	s := open(t, client, redisstore.Options{Name: name})
	ids := add(t, s, "1")
	e.addForeign(name)
	add(t, s, "2")
	assert.Equal(t, []string{"1", "2"}, held(t, s))
	for m, err := range s.Follow(t.Context(), ids[0]) {
		require.NoError(t, err)
		assert.Equal(t, "2", m.Event.Data)
		break
	}
}

func TestAnEventDeletedByHandIsAGapForACursorAndThenJustNotThere(t *testing.T) {
	t.Parallel()
	e := startEngine(t)
	client, name := connect(t, e.addr()), newName()
	s := open(t, client, redisstore.Options{Name: name})
	ids := add(t, s, "1", "2", "3", "4")
	e.remove(name, ids[1])
	e.remove(name, ids[3])
	assert.Equal(t, []string{"1", "3"}, held(t, s))
	var got []string
	for ev, err := range s.Range(t.Context(), broker.Query{After: ids[0]}) {
		require.ErrorIs(t, err, broker.ErrGap, "%v", ev)
	}
	add(t, s, "5")
	for m, err := range s.Follow(t.Context(), "") {
		require.NoError(t, err)
		if got = append(got, m.Event.Data); len(got) == 3 {
			break
		}
	}
	assert.Equal(t, []string{"1", "3", "5"}, got)
}

func TestTheShortestTimesAreAMillisecond(t *testing.T) {
	e := startEngine(t)
	s := open(t, connect(t, e.addr()), redisstore.Options{Name: newName(), Duplicates: time.Microsecond, MaxAge: time.Microsecond})
	for range 3 {
		_, err := s.Append(t.Context(), sse.Event{ID: "a", Data: "x"}, []string{""})
		require.NoError(t, err)
		time.Sleep(10 * time.Millisecond)
	}
	n := 0
	for range s.Range(t.Context(), broker.Query{}) {
		n++
	}
	assert.Equal(t, 1, n, "those before it are too old")
}

// before is a hook that is called before each command.
type before func()

func (before) DialHook(next redis.DialHook) redis.DialHook { return next }
func (before) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}
func (f before) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		f()
		return next(ctx, cmd)
	}
}

func TestARangeFromTheOldestIsNotOvertakenBeforeItsFirstEvent(t *testing.T) {
	e := startEngine(t)
	opts := redisstore.Options{Name: newName(), MaxEvents: 20, PageSize: 5}
	client := connect(t, e.addr())
	s, other := open(t, client, opts), open(t, connect(t, e.addr()), opts)
	add := func() {
		for range 30 {
			_, err := other.Append(t.Context(), sse.Event{Data: "x"}, []string{"common"})
			require.NoError(t, err)
		}
	}
	add()
	commands := 0
	client.AddHook(before(func() {
		if commands++; commands == 3 { // after the first page
			add()
		}
	}))
	for ev, err := range s.Range(t.Context(), broker.Query{Topics: []string{"rare"}}) {
		assert.NoError(t, err, "%v", ev)
	}
	assert.Greater(t, commands, 3)
}
