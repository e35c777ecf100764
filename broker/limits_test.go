package broker_test

import (
	"context"
	"errors"
	"iter"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/sse"
	"github.com/fanfare-go/fanfare/sse/ssetest"
)

// asked remembers after which cursors it was asked for events.
type asked struct {
	broker.Store
	mu    sync.Mutex
	after []string
}

func (s *asked) Range(ctx context.Context, q broker.Query) iter.Seq2[sse.Event, error] {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.after = append(s.after, q.After)
	return s.Store.Range(ctx, q)
}

func TestACursorThatNoEventCanHaveIsLostWithoutAskingTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &asked{Store: namedStore(nil)}
		b := newBroker(t, &broker.Options{Store: store})
		publish(t, b, 1, 1)
		for _, cursor := range []string{
			strings.Repeat("x", 4097), "a\x00b", "a\nb", "a\rb", "a\x7f", " a", "a ", "\xff", "a\xc3",
		} {
			want := "event: gap\ndata: \n\n" + block("1", "1")
			assert.Equal(t, want, connect(t, b, cursor).news(), "%.20q in the header", cursor)
			s := ssetest.Record(t, b, ssetest.NewRequest("/?"+url.Values{"lastEventId": {cursor}}.Encode(), ""))
			synctest.Wait()
			assert.Equal(t, want, s.Body(), "%.20q in the query", cursor)
			got, err := pending(t, resume(t, b, cursor))
			require.NoError(t, err)
			assert.Equal(t, []string{"gap:", "1"}, got, "%.20q", cursor)
		}
		for _, after := range store.after {
			assert.Empty(t, after)
		}
	})
}

// stumbling is a Store that fails once, after two events.
type stumbling struct {
	broker.Store
	failed bool
}

func (s *stumbling) Range(ctx context.Context, q broker.Query) iter.Seq2[sse.Event, error] {
	return func(yield func(sse.Event, error) bool) {
		n := 0
		for ev, err := range s.Store.Range(ctx, q) {
			if n == 2 && !s.failed {
				s.failed = true
				yield(sse.Event{}, errors.New("stumbled"))
				return
			}
			if n++; !yield(ev, err) {
				return
			}
		}
	}
}

func TestABacklogThatFailsInTheMiddleGoesOnThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &broker.Options{Backlog: -1, Store: &stumbling{Store: namedStore(nil)}})
		publish(t, b, 1, 5)
		assert.Equal(t, numbers(1, 5), take(t, subscribe(t, b), 5))
	})
}
