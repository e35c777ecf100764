package storetest

import (
	"context"
	"errors"
	"iter"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/sse"
)

var errAway = errors.New("away")

func TestALogMakesIDsThatDoNotSortAsStrings(t *testing.T) {
	l := NewLog()
	ids := publish(t, l, 10)
	assert.True(t, strings.HasSuffix(ids[8], "-9"), ids[8])
	assert.True(t, strings.HasSuffix(ids[9], "-10"), ids[9])
	assert.Less(t, ids[9], ids[8])
	assert.Negative(t, l.Compare(ids[8], ids[9]))
}

func TestViewsOfALogShareItsHistory(t *testing.T) {
	l := NewLog()
	a, b := l.View(), l.View()
	ids := append(publish(t, a, 2), publish(t, b, 2)...)
	for _, f := range []broker.Follower{l, a, b} {
		assert.Equal(t, ids, rangeIDs(t, f, broker.Query{}))
	}
}

func TestAPausedViewLagsBehindAndLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLog()
		paused, other := l.View(), l.View()
		lagging, ahead := followIDs(t, paused), followIDs(t, other)
		ids := publish(t, l, 2)
		assert.Equal(t, ids, lagging())

		paused.Pause()
		ids = append(ids, publish(t, paused, 3)...)
		time.Sleep(time.Hour)
		assert.Equal(t, ids[:2], lagging())
		assert.Equal(t, ids, ahead())
		assert.Equal(t, ids, rangeIDs(t, paused, broker.Query{}), "only Follow lags")

		paused.Resume()
		assert.Equal(t, ids, lagging())
	})
}

func TestALogThatIsAwayFailsEveryCall(t *testing.T) {
	l := NewLog()
	v := l.View()
	ids := publish(t, l, 3)
	l.SetErr(errAway)
	assert.Equal(t, failures{errAway, errAway, errAway, errAway}, try(t, l))
	assert.Equal(t, failures{errAway, errAway, errAway, errAway}, try(t, v))
	l.SetErr(nil)
	assert.Equal(t, ids, rangeIDs(t, v, broker.Query{}), "nothing was stored")
}

func TestAViewThatIsCutOffFailsAlone(t *testing.T) {
	l := NewLog()
	cut, other := l.View(), l.View()
	cut.SetErr(errAway)
	assert.Equal(t, failures{errAway, errAway, errAway, errAway}, try(t, cut))
	ids := publish(t, other, 2)
	cut.SetErr(nil)
	assert.Equal(t, ids, rangeIDs(t, cut, broker.Query{}))
}

func TestAFollowThatWaitsEndsWhenTheLogGoesAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLog()
		var ended error
		go func() {
			for _, ended = range l.Follow(t.Context(), "") {
			}
		}()
		synctest.Wait()
		l.SetErr(errAway)
		synctest.Wait()
		assert.Equal(t, errAway, ended)
	})
}

func TestAnAppendWhoseReplyIsLostIsStoredOnce(t *testing.T) {
	l := NewLog()
	v := l.View()
	v.LoseReplies(errAway)
	id, err := v.Append(t.Context(), sse.Event{ID: "order-7"}, nil)
	assert.Empty(t, id)
	assert.Equal(t, errAway, err)
	v.LoseReplies(nil)
	id, err = v.Append(t.Context(), sse.Event{ID: "order-7"}, nil)
	assert.Equal(t, broker.ErrDuplicate, err)
	assert.Equal(t, []string{id}, rangeIDs(t, l, broker.Query{}))
}

func TestTrimEvictsTheOldest(t *testing.T) {
	l := NewLog()
	ids := publish(t, l, 5)
	l.Trim(2)
	assert.Equal(t, ids[2:], rangeIDs(t, l, broker.Query{}))
	assert.Equal(t, ids[2:], rangeIDs(t, l, broker.Query{After: ids[1]}))
	_, err := collect(l.Range(t.Context(), broker.Query{After: ids[0]}))
	assert.Equal(t, broker.ErrGap, err)
	l.Trim(10)
	assert.Empty(t, rangeIDs(t, l, broker.Query{}))
	last, err := l.Last(t.Context())
	require.NoError(t, err)
	assert.Equal(t, ids[4], last)
}

func TestLimitEvictsNowAndLater(t *testing.T) {
	l := NewLog()
	ids := publish(t, l, 5)
	l.Limit(3)
	assert.Equal(t, ids[2:], rangeIDs(t, l, broker.Query{}))
	ids = append(ids, publish(t, l, 2)...)
	assert.Equal(t, ids[4:], rangeIDs(t, l, broker.Query{}))
	l.Limit(0)
	ids = append(ids, publish(t, l, 2)...)
	assert.Equal(t, ids[4:], rangeIDs(t, l, broker.Query{}))
}

// publish appends n events.
func publish(t *testing.T, s broker.Store, n int) (ids []string) {
	t.Helper()
	for range n {
		id, err := s.Append(t.Context(), sse.Event{Data: "data"}, []string{"a"})
		require.NoError(t, err)
		ids = append(ids, id)
	}
	return ids
}

func rangeIDs(t *testing.T, s broker.Store, q broker.Query) []string {
	t.Helper()
	events, err := collect(s.Range(t.Context(), q))
	require.NoError(t, err)
	return ids(events)
}

// followIDs follows f until the test ends, in a bubble. It returns a function
// that returns the IDs that have come once nothing more comes.
func followIDs(t *testing.T, f broker.Follower) func() []string {
	var got []string
	go func() {
		for m, err := range f.Follow(t.Context(), "") {
			if err == nil {
				got = append(got, m.Event.ID)
			}
		}
	}()
	return func() []string {
		synctest.Wait()
		return got
	}
}

// collect returns what seq yields.
func collect[E any](seq iter.Seq2[E, error]) (all []E, err error) {
	for e, failure := range seq {
		if err = failure; err == nil {
			all = append(all, e)
		}
	}
	return all, err
}

// failures are the errors of one call of each method.
type failures struct{ append, last, ranging, following error }

func try(t *testing.T, f broker.Follower) (all failures) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, all.append = f.Append(ctx, sse.Event{}, nil)
	_, all.last = f.Last(ctx)
	_, all.ranging = collect(f.Range(ctx, broker.Query{}))
	_, all.following = collect(f.Follow(ctx, ""))
	return all
}
