package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/broker/redisstore"
	"github.com/fanfare-go/fanfare/sse"
)

func TestClientsThatHopBetweenBrokersGetEveryEventOnceInOrder(t *testing.T) {
	t.Parallel()
	const clients, events = 8, 400
	e, name := startEngine(t), newName()
	var brokers []*broker.Broker
	for range 2 {
		s := open(t, connect(t, e.addr()), redisstore.Options{Name: name})
		brokers = append(brokers, newBroker(t, s))
	}
	start := publish(t, brokers[0], 0, 0)[0]
	got, errs := make([][]string, clients), make([]error, clients)
	done := make(chan struct{})
	go func() {
		defer close(done)
		together(clients, func(i int) { got[i], errs[i] = hop(t.Context(), brokers, start, events, 1+i*7) })
	}()
	for i := 1; i <= events; i += 5 {
		publish(t, brokers[i%2], i, i+4)
	}
	<-done
	require.NoError(t, errors.Join(errs...))
	for i := range got {
		assert.Equal(t, numbers(1, events), got[i])
	}
}

// hop returns the data of n events after an ID: it takes a few from one broker,
// and goes on at the next with the last ID it got.
func hop(ctx context.Context, brokers []*broker.Broker, after string, n, few int) (got []string, err error) {
	for at := 0; len(got) < n; at++ {
		sub, err := brokers[at%len(brokers)].Resume(after, "a")
		if err != nil {
			return got, err
		}
		taken := 0
		for ev, err := range sub.Events(ctx) {
			if err != nil {
				return got, err
			}
			if ev.ID == "" {
				return got, fmt.Errorf("%q after %q", show(ev), after)
			}
			got, after = append(got, show(ev)), ev.ID
			if taken++; taken == few || len(got) == n {
				break
			}
		}
		sub.Close()
	}
	return got, nil
}

func TestWhileTheEngineIsAwaySubscribersStayAndThenGoOn(t *testing.T) {
	t.Parallel()
	e, name := startEngine(t), newName()
	one := newBroker(t, open(t, connect(t, e.addr()), redisstore.Options{Name: name}))
	two := newBroker(t, open(t, connect(t, e.addr()), redisstore.Options{Name: name}))
	ids := publish(t, one, 0, 0)
	here, there := resume(t, one, ids[0]), resume(t, two, ids[0])
	publish(t, one, 1, 10)
	assert.Equal(t, numbers(1, 10), take(t, here, 10))
	assert.Equal(t, numbers(1, 10), take(t, there, 10))

	e.stop()
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := one.Publish(ctx, sse.Event{ID: "number-11", Data: "11"}, "a")
	require.Error(t, err)
	e.start()

	publish(t, two, 11, 20)
	publish(t, one, 21, 30)
	assert.Equal(t, numbers(11, 30), take(t, here, 20))
	assert.Equal(t, numbers(11, 30), take(t, there, 20))
}

func TestAHistoryThatIsLostIsAGapForEverybody(t *testing.T) {
	t.Parallel()
	e, name := startEngine(t), newName()
	b := newBroker(t, open(t, connect(t, e.addr()), redisstore.Options{Name: name}))
	ids := publish(t, b, 0, 3)
	sub := resume(t, b, ids[0])
	assert.Equal(t, numbers(1, 3), take(t, sub, 3))

	e.lose(name)
	ids = append(ids, publish(t, b, 4, 5)...)
	assert.Equal(t, []string{"gap:", "4", "5"}, take(t, sub, 3))
	assert.Equal(t, []string{"gap:", "4", "5"}, take(t, resume(t, b, ids[1]), 3))
	assert.Equal(t, []string{"5"}, take(t, resume(t, b, ids[4]), 1))
}

func TestEventsTrimmedWhileABrokerWasCutOffAreAGap(t *testing.T) {
	t.Parallel()
	e, name := startEngine(t), newName()
	opts := redisstore.Options{Name: name, MaxEvents: 5}
	p := newProxy(t, e.addr())
	cut := newBroker(t, open(t, connect(t, p.addr()), opts))
	other := newBroker(t, open(t, connect(t, e.addr()), opts))
	ids := publish(t, other, 0, 0)
	sub := resume(t, cut, ids[0])
	publish(t, other, 1, 2)
	assert.Equal(t, numbers(1, 2), take(t, sub, 2))

	p.cut()
	publish(t, other, 3, 12)
	p.mend()
	// Events are handed over with the gap when the first comes that was not
	// there before.
	publish(t, other, 13, 13)
	assert.Equal(t, append([]string{"gap:"}, numbers(9, 13)...), takeThrough(t, sub, "13"))
}
