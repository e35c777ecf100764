package broker_test

import (
	"context"
	"errors"
	"iter"
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

func TestSubscribersGetTheEventsOfTheirTopicsInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, nil)
		a, ab, none := subscribe(t, b, "a"), subscribe(t, b, "a", "b"), subscribe(t, b)
		publish(t, b, 1, 1, "a")
		publish(t, b, 2, 2, "b")
		publish(t, b, 3, 3)
		publish(t, b, 4, 4, "b", "a", "b")
		publish(t, b, 5, 5, "c")

		for sub, want := range map[*broker.Subscription][]string{
			a: {"1", "4"}, ab: {"1", "2", "4"}, none: {"3"},
		} {
			got, err := pending(t, sub)
			require.NoError(t, err)
			assert.Equal(t, want, got)
		}
		assert.Equal(t, broker.Stats{Subscribers: 3, Published: 5, Delivered: 6}, b.Stats())
	})
}

func TestEventsCarryTheIDsThatPublishReturned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, nil)
		sub := subscribe(t, b)
		given, err := b.Publish(t.Context(), sse.Event{ID: "mine", Type: "t", Data: "x"})
		require.NoError(t, err)
		made, err := b.Publish(t.Context(), sse.Event{Data: "y"})
		require.NoError(t, err)

		var got []sse.Event
		for ev, err := range sub.Events(t.Context()) {
			require.NoError(t, err)
			if got = append(got, ev); len(got) == 2 {
				break
			}
		}
		assert.Equal(t, "mine", given)
		assert.Equal(t, []sse.Event{{ID: "mine", Type: "t", Data: "x"}, {ID: made, Data: "y"}}, got)
	})
}

func TestAnEventThatIsAlreadyStoredIsNotDeliveredAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, nil)
		sub := subscribe(t, b)
		for _, want := range []error{nil, broker.ErrDuplicate} {
			id, err := b.Publish(t.Context(), sse.Event{ID: "7", Data: "x"})
			assert.Equal(t, "7", id)
			assert.Equal(t, want, err)
		}
		got, err := pending(t, sub)
		require.NoError(t, err)
		assert.Equal(t, []string{"x"}, got)
		assert.Equal(t, uint64(1), b.Stats().Published)
	})
}

func TestPublishRefusesWhatCannotBeSentOrSentBack(t *testing.T) {
	b := newBroker(t, &broker.Options{Store: refusingStore{t}})
	for name, ev := range map[string]sse.Event{
		"line end in type":       {Type: "a\nb"},
		"carriage return":        {Type: "a\rb"},
		"line end in ID":         {ID: "a\nb"},
		"NUL in ID":              {ID: "a\x00b"},
		"control character":      {ID: "a\x1bb"},
		"delete":                 {ID: "a\x7fb"},
		"tab":                    {ID: "a\tb"},
		"blank before":           {ID: " a"},
		"blank after":            {ID: "a "},
		"only a blank":           {ID: " "},
		"ill-formed UTF-8 in ID": {ID: "a\xff"},
		"long ID":                {ID: strings.Repeat("x", 4097)},
		"negative retry":         {Retry: -1},
	} {
		t.Run(name, func(t *testing.T) {
			id, err := b.Publish(t.Context(), ev)
			var field *sse.FieldError
			require.ErrorAs(t, err, &field)
			want := &sse.FieldError{Field: "id", Value: ev.ID}
			if ev.Retry != 0 {
				want = &sse.FieldError{Field: "retry", Value: "-1ns"}
			} else if ev.Type != "" {
				want = &sse.FieldError{Field: "event", Value: ev.Type}
			}
			assert.Equal(t, want, field)
			assert.Empty(t, id)
		})
	}
}

// refusingStore fails the test when it is asked to store.
type refusingStore struct{ t *testing.T }

func (s refusingStore) Append(context.Context, sse.Event, []string) (string, error) {
	s.t.Error("an event that cannot be sent was appended")
	return "", nil
}
func (s refusingStore) Last(context.Context) (string, error) { return "0", nil }
func (s refusingStore) Range(context.Context, broker.Query) iter.Seq2[sse.Event, error] {
	return func(func(sse.Event, error) bool) {}
}

func TestPublishEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newGate(broker.NewMemoryStore(nil))
		b := newBroker(t, &broker.Options{Store: store})
		cause := errors.New("enough")

		store.shut()
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(cause) })
		_, err := b.Publish(ctx, sse.Event{Data: "waits in the Store"})
		assert.ErrorIs(t, err, cause)

		// Likewise for one that waits behind another one.
		go func() { _, _ = b.Publish(t.Context(), sse.Event{Data: "1"}) }()
		synctest.Wait()
		ctx, cancel = context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(cause) })
		_, err = b.Publish(ctx, sse.Event{Data: "waits for the lock"})
		assert.ErrorIs(t, err, cause)
		store.open()
	})
}

func TestAStoreThatHangsStopsNeitherSubscribersNorClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newGate(broker.NewMemoryStore(nil))
		b := newBroker(t, &broker.Options{Store: store})
		publish(t, b, 1, 1)
		sub := subscribe(t, b)
		publish(t, b, 2, 2)

		store.shut()
		published := make(chan error, 1)
		go func() {
			_, err := b.Publish(context.Background(), sse.Event{Data: "3"})
			published <- err
		}()
		synctest.Wait()
		assert.Equal(t, []string{"2"}, take(t, sub, 1))
		assert.Equal(t, 1, b.Stats().Subscribers)
		subscribe(t, b)
		require.NoError(t, b.Close())
		assert.Equal(t, broker.ErrClosed, <-published)
	})
}

func TestConcurrentPublishersHaveOneOrderForAllSubscribers(t *testing.T) {
	b := newBroker(t, &broker.Options{QueueSize: 2000})
	const publishers, each = 8, 200
	var subs []*broker.Subscription
	for range 20 {
		subs = append(subs, subscribe(t, b, "even", "odd"))
	}
	var wg sync.WaitGroup
	for i := range publishers {
		wg.Go(func() { publish(t, b, i*each, (i+1)*each-1, []string{"even", "odd"}[i%2]) })
	}
	first := take(t, subs[0], publishers*each)
	for _, sub := range subs[1:] {
		require.Equal(t, first, take(t, sub, publishers*each))
	}
	assert.ElementsMatch(t, numbers(0, publishers*each-1), first)
	wg.Wait()
}

// gate is a Store whose Append can be made to wait.
type gate struct {
	broker.Store
	mu   sync.Mutex    // guards wait
	wait chan struct{} // closed: open
}

func newGate(s broker.Store) *gate {
	g := &gate{Store: s, wait: make(chan struct{})}
	g.open()
	return g
}

func (g *gate) Append(ctx context.Context, ev sse.Event, topics []string) (string, error) {
	g.mu.Lock()
	wait := g.wait
	g.mu.Unlock()
	select {
	case <-wait:
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
	return g.Store.Append(ctx, ev, topics)
}

func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.wait = make(chan struct{})
}

func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.wait)
}
