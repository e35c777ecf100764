package broker_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/sse"
)

func TestTheCursorJustBeforeTheOldestEventHeldIsGood(t *testing.T) {
	s := broker.NewMemoryStore(&broker.MemoryOptions{MaxEvents: 3})
	events := fillStore(t, s, 10)
	assert.Equal(t, history{events: events[7:]}, rangeAll(t, s, broker.Query{After: events[6].ID}))
	assert.Equal(t, history{err: broker.ErrGap}, rangeAll(t, s, broker.Query{After: events[5].ID}))
}

func TestEventsThatExpireWhileTheyAreRangedOverAreAGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := broker.NewMemoryStore(&broker.MemoryOptions{MaxAge: time.Minute})
		events := fillStore(t, s, 1000)
		got := 0
		for ev, err := range s.Range(t.Context(), broker.Query{Through: events[999].ID}) {
			if err != nil {
				assert.Equal(t, broker.ErrGap, err)
				assert.Positive(t, got)
				assert.Less(t, got, 999)
				return
			}
			assert.Equal(t, events[got], ev)
			if got++; got == 1 {
				time.Sleep(time.Hour)
			}
		}
		t.Error("Range ended without an error")
	})
}

func TestARangeEndsInAGapExactlyIfItsNextPageWasEvicted(t *testing.T) {
	const held = 140 // a little more than a page
	gaps := 0
	for evicted := range held {
		s := broker.NewMemoryStore(&broker.MemoryOptions{MaxEvents: held})
		events := fillStore(t, s, held)
		var got []sse.Event
		var failure error
		for ev, err := range s.Range(t.Context(), broker.Query{Through: events[held-1].ID}) {
			if len(got) == 0 {
				fillStore(t, s, evicted)
			}
			if failure = err; err == nil {
				got = append(got, ev)
			}
		}
		assert.Equal(t, events[:len(got)], got)
		if len(got) == held {
			assert.NoError(t, failure, "%d were evicted", evicted)
		} else {
			assert.Equal(t, broker.ErrGap, failure, "%d were evicted", evicted)
			assert.Less(t, len(got), evicted, "only what was held is a hole")
			gaps++
		}
	}
	assert.Positive(t, gaps, "all was one page")
}

func TestARangeOvertakenBeforeItsFirstEventBeginsWithTheOldestThenHeld(t *testing.T) {
	for _, newest := range []int{0, 4, 20} {
		s := broker.NewMemoryStore(&broker.MemoryOptions{MaxEvents: 10})
		events := fillStore(t, s, 10)
		ctx := evictingContext{t.Context(), sync.OnceFunc(func() { fillStore(t, s, 8) })}
		q := broker.Query{Through: events[9].ID, Newest: newest}
		var got []sse.Event
		for ev, err := range s.Range(ctx, q) {
			require.NoError(t, err)
			got = append(got, ev)
		}
		assert.Equal(t, events[8:], got)

		ctx.evict = sync.OnceFunc(func() { fillStore(t, s, 8) })
		q = broker.Query{After: got[0].ID, Newest: newest}
		for ev, err := range s.Range(ctx, q) {
			assert.Equal(t, history{err: broker.ErrGap}, history{err: err})
			assert.Zero(t, ev)
		}
	}
}

// An evictingContext evicts where Range looks at it: just before it reads.
type evictingContext struct {
	context.Context
	evict func()
}

func (c evictingContext) Err() error {
	c.evict()
	return c.Context.Err()
}

func TestARangeOfNoTopicsYieldsNothing(t *testing.T) {
	s := broker.NewMemoryStore(nil)
	events := fillStore(t, s, 2)
	assert.Equal(t, history{events: events}, rangeAll(t, s, broker.Query{Topics: nil}))
	assert.Equal(t, history{}, rangeAll(t, s, broker.Query{Topics: []string{}}))
}

func TestARangeYieldsWhatWasPublishedOnAnyOfItsTopics(t *testing.T) {
	for _, wanted := range []int{2, 20} { // how they are compared depends on their number
		s := broker.NewMemoryStore(nil)
		topics := numbers(1, wanted)
		var want []string
		for i, on := range [][]string{{"x", "2"}, {"x", "y"}, {"1", "2"}, {"x", "y", "1"}, nil} {
			_, err := s.Append(t.Context(), sse.Event{Data: fmt.Sprint(i)}, on)
			require.NoError(t, err)
			if i == 0 || i == 2 || i == 3 {
				want = append(want, fmt.Sprint(i))
			}
		}
		var got []string
		for ev, err := range s.Range(t.Context(), broker.Query{Topics: topics}) {
			require.NoError(t, err)
			got = append(got, ev.Data)
		}
		assert.Equal(t, want, got)
	}
}

func TestManyReadersEvictWhatExpiresUnderThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := broker.NewMemoryStore(&broker.MemoryOptions{MaxAge: time.Second})
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				for range 50 {
					for _, err := range s.Range(t.Context(), broker.Query{}) {
						if err != nil {
							assert.Equal(t, broker.ErrGap, err)
						}
					}
					time.Sleep(100 * time.Millisecond)
				}
			})
		}
		fillStore(t, s, 10)
		wg.Wait()
		assert.Equal(t, history{}, rangeAll(t, s, broker.Query{}))
	})
}

func TestManyRangeWhileAPublisherAppends(t *testing.T) {
	const readers, events = 200, 1000
	s := broker.NewMemoryStore(nil)
	want := fillStore(t, s, events)
	var wg sync.WaitGroup
	for range readers {
		wg.Go(func() {
			n := 0
			for ev, err := range s.Range(t.Context(), broker.Query{Through: want[events-1].ID}) {
				if err != nil || ev != want[n] {
					t.Errorf("event %d is %v, %v", n, ev, err)
					return
				}
				n++
			}
			if n != events {
				t.Errorf("%d events were yielded, want %d", n, events)
			}
		})
	}
	fillStore(t, s, events)
	wg.Wait()
}

func TestRangeAllocatesNothingPerEvent(t *testing.T) {
	s := broker.NewMemoryStore(nil)
	events := fillStore(t, s, 4096)
	allocs := func(n int) float64 {
		q := broker.Query{Through: events[n-1].ID, Topics: []string{"a"}}
		return testing.AllocsPerRun(20, func() {
			for range s.Range(t.Context(), q) {
			}
		})
	}
	assert.Equal(t, allocs(1), allocs(4096))
}

func TestAStoreThatShrinksKnowsItsCursorsStill(t *testing.T) {
	s := broker.NewMemoryStore(&broker.MemoryOptions{MaxEvents: -1, MaxBytes: 1 << 20})
	var ids []string
	for i := range 2_000 {
		id, err := s.Append(t.Context(), sse.Event{Data: strconv.Itoa(i)}, []string{""})
		require.NoError(t, err)
		ids = append(ids, id)
	}
	_, err := s.Append(t.Context(), sse.Event{Data: strings.Repeat("x", 1<<20-20<<10)}, []string{""}) // most have to go
	require.NoError(t, err)
	n := 0
	for _, err := range s.Range(t.Context(), broker.Query{After: ids[len(ids)-3]}) {
		require.NoError(t, err)
		n++
	}
	assert.Equal(t, 3, n)
}

func TestTheNewestOfATopicIsFoundBehindMuchOfOthers(t *testing.T) {
	s := broker.NewMemoryStore(nil)
	topics := []string{"wanted"}
	for i := range 3_000 {
		_, err := s.Append(t.Context(), sse.Event{Data: strconv.Itoa(i)}, topics)
		require.NoError(t, err)
		topics = []string{"another"}
	}
	for ev, err := range s.Range(t.Context(), broker.Query{Topics: []string{"wanted"}, Newest: 1}) {
		require.NoError(t, err)
		assert.Equal(t, "0", ev.Data)
	}
	_, err := s.Append(t.Context(), sse.Event{}, topics) // no lock is held
	require.NoError(t, err)
}
