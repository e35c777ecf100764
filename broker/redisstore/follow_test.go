package redisstore_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/broker/redisstore"
	"github.com/fanfare-go/fanfare/sse"
)

func TestOneFollowSurvivesTheConnectionAndGoesOnInOrder(t *testing.T) {
	t.Parallel()
	e, name := startEngine(t), newName()
	p := newProxy(t, e.addr())
	follower := open(t, connect(t, p.addr()), redisstore.Options{Name: name})
	s := open(t, connect(t, e.addr()), redisstore.Options{Name: name})
	var got []string
	appendAll := func(first, last int) {
		for _, data := range numbers(first, last) {
			_, err := s.Append(t.Context(), sse.Event{Data: data}, []string{"a"})
			require.NoError(t, err)
		}
	}
	appendAll(1, 1)
	for m, err := range follower.Follow(t.Context(), "") {
		require.NoError(t, err)
		got = append(got, m.Event.Data)
		switch len(got) {
		case 1:
			p.cut()
			appendAll(2, 50)
			p.mend()
		case 50:
			p.cut()
			p.mend()
			appendAll(51, 100)
		}
		if len(got) == 100 {
			break
		}
	}
	assert.Equal(t, numbers(1, 100), got)
}

func TestAContextThatEndsWhileTheEngineIsAwayEndsEveryCall(t *testing.T) {
	e := startEngine(t)
	s := open(t, connect(t, e.addr()), redisstore.Options{})
	last, err := s.Last(t.Context())
	require.NoError(t, err)
	e.hang()
	defer e.unhang()

	cause := fmt.Errorf("enough")
	calls := map[string]func(context.Context) error{
		"Append": func(ctx context.Context) error {
			_, err := s.Append(ctx, sse.Event{}, []string{"a"})
			return err
		},
		"Last": func(ctx context.Context) error { _, err := s.Last(ctx); return err },
		"Range": func(ctx context.Context) (end error) {
			for _, err := range s.Range(ctx, broker.Query{After: last}) {
				end = err
			}
			return end
		},
		"Follow": func(ctx context.Context) (end error) {
			for _, err := range s.Follow(ctx, last) {
				end = err
			}
			return end
		},
	}
	for name, call := range calls {
		for _, patience := range []time.Duration{0, 100 * time.Millisecond} {
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(patience, func() { cancel(cause) })
			start := time.Now()
			assert.ErrorIs(t, call(ctx), cause, name)
			assert.Less(t, time.Since(start), patience+time.Second, name)
		}
	}
}

func TestAFollowThatWaitsEndsWithItsContext(t *testing.T) {
	e := startEngine(t)
	s := open(t, connect(t, e.addr()), redisstore.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(200*time.Millisecond, cancel)
	start := time.Now()
	for _, err := range s.Follow(ctx, "") {
		require.ErrorIs(t, err, context.Canceled)
	}
	assert.Less(t, time.Since(start), time.Second)
}
