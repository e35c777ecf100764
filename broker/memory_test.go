package broker_test

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/broker/storetest"
	"github.com/fanfare-go/fanfare/sse"
)

func TestAMemoryStoreKeepsTheRulesOfStores(t *testing.T) {
	storetest.Run(t, storetest.Harness{
		Open: func(*testing.T) broker.Store { return broker.NewMemoryStore(nil) },
		Small: func(_ *testing.T, maxEvents int) broker.Store {
			return broker.NewMemoryStore(&broker.MemoryOptions{MaxEvents: maxEvents})
		},
	})
}

func TestAMemoryStoreWithoutLimitsKeepsTheRulesOfStores(t *testing.T) {
	storetest.Run(t, storetest.Harness{Open: func(*testing.T) broker.Store {
		return broker.NewMemoryStore(&broker.MemoryOptions{MaxEvents: -1, MaxBytes: -1, MaxAge: -1})
	}})
}

func TestAMemoryStoreMakesIDsOfItsStartRandomDigitsAndASequence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := strconv.FormatInt(time.Now().UnixMilli(), 10)
		s := broker.NewMemoryStore(nil)
		time.Sleep(time.Hour)
		empty, err := s.Last(t.Context())
		require.NoError(t, err)
		assert.Regexp(t, regexp.MustCompile("^"+start+`\d{6}-0$`), empty)
		for range 200 { // some of which begin with a zero
			id, err := broker.NewMemoryStore(nil).Last(t.Context())
			require.NoError(t, err)
			require.Len(t, id, len(empty))
		}
		epoch := strings.TrimSuffix(empty, "0")
		assert.Equal(t, []sse.Event{{ID: epoch + "1", Data: "0"}, {ID: epoch + "2", Data: "1"}}, fillStore(t, s, 2))
		another, err := broker.NewMemoryStore(nil).Last(t.Context())
		require.NoError(t, err)
		assert.NotEqual(t, empty, another)
	})
}

func TestAnIDThatThePublisherGivesIsTheIDOfTheEvent(t *testing.T) {
	s := broker.NewMemoryStore(&broker.MemoryOptions{MaxEvents: 2})
	for _, given := range []string{"c", "a", "b"} {
		id, err := s.Append(t.Context(), sse.Event{ID: given}, nil)
		require.NoError(t, err)
		assert.Equal(t, given, id)
	}
	assert.Equal(t, history{events: []sse.Event{{ID: "a"}, {ID: "b"}}}, rangeAll(t, s, broker.Query{}))

	for _, held := range []string{"b", "a", "c"} { // c is the last that was evicted
		id, err := s.Append(t.Context(), sse.Event{ID: held, Data: "again"}, nil)
		assert.Equal(t, held, id)
		assert.ErrorIs(t, err, broker.ErrDuplicate)
	}
	assert.Equal(t, history{events: []sse.Event{{ID: "a"}, {ID: "b"}}}, rangeAll(t, s, broker.Query{After: "c"}))

	_, err := s.Append(t.Context(), sse.Event{ID: "d"}, nil)
	require.NoError(t, err)
	_, err = s.Append(t.Context(), sse.Event{ID: "c"}, nil)
	assert.NoError(t, err, "c is not remembered any more")
}

func TestAnIDThatAPublisherTookIsNotGivenAgain(t *testing.T) {
	s := broker.NewMemoryStore(nil)
	empty, err := s.Last(t.Context())
	require.NoError(t, err)
	epoch := strings.TrimSuffix(empty, "0")
	for _, taken := range []string{"2", "3"} {
		_, err := s.Append(t.Context(), sse.Event{ID: epoch + taken, Data: "taken"}, nil)
		require.NoError(t, err)
	}
	fillStore(t, s, 2)
	assert.Equal(t, history{events: []sse.Event{
		{ID: epoch + "2", Data: "taken"}, {ID: epoch + "3", Data: "taken"}, {ID: epoch + "1", Data: "0"}, {ID: epoch + "4", Data: "1"},
	}}, rangeAll(t, s, broker.Query{}))
}

func TestMaxBytesCountsStringsTopicsAndOverhead(t *testing.T) {
	const each = 256 + len("a") + len("type") + 1000 + 2*16 + len("one") + len("three")
	s := broker.NewMemoryStore(&broker.MemoryOptions{MaxBytes: 3 * each})
	var events []sse.Event
	for _, id := range []string{"a", "b", "c", "d", "e"} {
		ev := sse.Event{ID: id, Type: "type", Data: strings.Repeat("x", 1000)}
		_, err := s.Append(t.Context(), ev, []string{"one", "three"})
		require.NoError(t, err)
		events = append(events, ev)
	}
	assert.Equal(t, history{events: events[2:]}, rangeAll(t, s, broker.Query{}))

	_, err := s.Append(t.Context(), sse.Event{ID: "f"}, nil)
	require.NoError(t, err)
	assert.Equal(t, history{events: append(events[3:], sse.Event{ID: "f"})}, rangeAll(t, s, broker.Query{}))

	exact := sse.Event{ID: "g", Data: strings.Repeat("x", 3*each-256-len("g"))}
	_, err = s.Append(t.Context(), exact, nil)
	require.NoError(t, err)
	assert.Equal(t, history{events: []sse.Event{exact}}, rangeAll(t, s, broker.Query{}))
}

func TestOneByteTooManyIsAnEventLess(t *testing.T) {
	const each = 256 + len("a") + len("type") + len("x") + 2*16 + len("one") + len("three")
	for limit, want := range map[int]int{3 * each: 3, 3*each - 1: 2} {
		s := broker.NewMemoryStore(&broker.MemoryOptions{MaxBytes: limit})
		for _, id := range []string{"a", "b", "c"} {
			_, err := s.Append(t.Context(), sse.Event{ID: id, Type: "type", Data: "x"}, []string{"one", "three"})
			require.NoError(t, err)
		}
		assert.Len(t, rangeAll(t, s, broker.Query{}).events, want)
	}
}

func TestAnEventLargerThanMaxBytesIsNotHeldAndIsAGapForThoseBeforeIt(t *testing.T) {
	s := broker.NewMemoryStore(&broker.MemoryOptions{MaxBytes: 1000})
	events := fillStore(t, s, 2)
	large, err := s.Append(t.Context(), sse.Event{Data: strings.Repeat("x", 1000)}, nil)
	require.NoError(t, err)
	last, err := s.Last(t.Context())
	require.NoError(t, err)
	assert.Equal(t, large, last)
	assert.Equal(t, history{}, rangeAll(t, s, broker.Query{}))
	assert.Equal(t, history{}, rangeAll(t, s, broker.Query{After: large, Through: large}))
	assert.Equal(t, history{err: broker.ErrGap}, rangeAll(t, s, broker.Query{After: events[1].ID, Through: large}))

	after := fillStore(t, s, 1)
	assert.Equal(t, history{events: after}, rangeAll(t, s, broker.Query{After: large}))
	assert.Equal(t, history{err: broker.ErrGap}, rangeAll(t, s, broker.Query{After: events[1].ID}))
}

func TestAnEventIsHeldUntilMaxAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := broker.NewMemoryStore(&broker.MemoryOptions{MaxAge: time.Minute})
		var events []sse.Event
		for range 4 {
			events = append(events, fillStore(t, s, 1)...)
			time.Sleep(20 * time.Second)
		}
		// The ages are 80, 60, 40 and 20 seconds.
		assert.Equal(t, history{events: events[2:]}, rangeAll(t, s, broker.Query{}))
		assert.Equal(t, history{events: events[2:]}, rangeAll(t, s, broker.Query{After: events[1].ID}))
		assert.Equal(t, history{err: broker.ErrGap}, rangeAll(t, s, broker.Query{After: events[0].ID}))

		time.Sleep(20*time.Second - time.Nanosecond)
		assert.Equal(t, history{events: events[2:]}, rangeAll(t, s, broker.Query{}))
		time.Sleep(time.Nanosecond)
		assert.Equal(t, history{events: events[3:]}, rangeAll(t, s, broker.Query{}))

		time.Sleep(time.Hour)
		assert.Equal(t, history{}, rangeAll(t, s, broker.Query{}))
		last, err := s.Last(t.Context())
		require.NoError(t, err)
		assert.Equal(t, events[3].ID, last)
		assert.Equal(t, history{}, rangeAll(t, s, broker.Query{After: last}))
		assert.Equal(t, history{events: fillStore(t, s, 1)}, rangeAll(t, s, broker.Query{After: last}))
	})
}

func TestAnIDThatHasExpiredMayBeGivenAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := broker.NewMemoryStore(&broker.MemoryOptions{MaxAge: time.Minute})
		for _, given := range []string{"a", "b"} {
			_, err := s.Append(t.Context(), sse.Event{ID: given}, nil)
			require.NoError(t, err)
		}
		time.Sleep(time.Minute)
		_, err := s.Append(t.Context(), sse.Event{ID: "b"}, nil)
		assert.ErrorIs(t, err, broker.ErrDuplicate, "b was the last to go")
		_, err = s.Append(t.Context(), sse.Event{ID: "a"}, nil)
		assert.NoError(t, err)
		assert.Equal(t, history{events: []sse.Event{{ID: "a"}}}, rangeAll(t, s, broker.Query{After: "b"}))
	})
}

func TestAnEndedContextIsToldByItsCauseAndStoresNothing(t *testing.T) {
	s := broker.NewMemoryStore(nil)
	fillStore(t, s, 1)
	cause := errors.New("the cause")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(cause)
	_, err := s.Append(ctx, sse.Event{Data: "not stored"}, nil)
	assert.Equal(t, cause, err)
	for _, q := range []broker.Query{{}, {Newest: 1}} {
		for ev, err := range s.Range(ctx, q) {
			assert.Equal(t, history{err: cause}, history{err: err})
			assert.Zero(t, ev)
		}
	}
	assert.Len(t, rangeAll(t, s, broker.Query{}).events, 1)
}

func TestAppendAllocatesTheIDAndTheTopics(t *testing.T) {
	s := broker.NewMemoryStore(&broker.MemoryOptions{MaxEvents: 100})
	fillStore(t, s, 1000)
	topics := []string{"a", "b"}
	assert.LessOrEqual(t, testing.AllocsPerRun(1000, func() {
		_, _ = s.Append(t.Context(), sse.Event{Data: "data"}, topics)
	}), 2.0)
}

func TestTheHeapIsBoundedByMaxBytesAndFreedByEviction(t *testing.T) {
	const limit = 4 << 20
	for _, size := range []int{0, 100, 10_000} {
		before := heapInUse()
		s := broker.NewMemoryStore(&broker.MemoryOptions{MaxEvents: -1, MaxBytes: limit})
		for range limit/(size+200) + 1000 {
			_, err := s.Append(t.Context(), sse.Event{Data: strings.Repeat("x", size)}, []string{"a"})
			require.NoError(t, err)
		}
		assert.Less(t, heapInUse()-before, limit*5/4, "with %d bytes of data", size)
		_, err := s.Append(t.Context(), sse.Event{Data: strings.Repeat("x", limit)}, nil)
		require.NoError(t, err)
		assert.Less(t, heapInUse()-before, limit/10, "with %d bytes of data, after all were evicted", size)
		runtime.KeepAlive(s)
	}
}

// heapInUse returns how many bytes are in use.
func heapInUse() int {
	runtime.GC()
	runtime.GC() // the first one only empties the pools
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// fillStore appends n events, numbered from 0, on topic a.
func fillStore(t *testing.T, s broker.Store, n int) []sse.Event {
	t.Helper()
	events := make([]sse.Event, n)
	for i := range events {
		events[i].Data = fmt.Sprint(i)
		id, err := s.Append(t.Context(), events[i], []string{"a"})
		require.NoError(t, err)
		events[i].ID = id
	}
	return events
}

// history is what a Range yielded.
type history struct {
	events []sse.Event
	err    error
}

func rangeAll(t *testing.T, s broker.Store, q broker.Query) history {
	t.Helper()
	var h history
	for ev, err := range s.Range(t.Context(), q) {
		require.NoError(t, h.err, "an element after the error")
		if h.err = err; err == nil {
			h.events = append(h.events, ev)
		}
	}
	return h
}
