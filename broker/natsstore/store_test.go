package natsstore_test

import (
	"context"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/broker/natsstore"
	"github.com/fanfare-go/fanfare/broker/storetest"
	"github.com/fanfare-go/fanfare/sse"
)

func TestTheStoreKeepsTheRules(t *testing.T) {
	t.Parallel()
	keepTheRules(t, startEngine(t).url(), 1)
}

func TestTheStoreOnAClusterKeepsTheRules(t *testing.T) {
	t.Parallel()
	engines, urls := startCluster(t)
	keepTheRules(t, urls, len(engines))
}

// keepTheRules runs the rules on Stores with so many replicas.
func keepTheRules(t *testing.T, urls string, replicas int) {
	const pageSize = 64
	names := make(map[broker.Store]string)
	open := func(t *testing.T, opts natsstore.Options) broker.Store {
		if opts.Name == "" {
			opts.Name = newName()
		}
		opts.PageSize, opts.Replicas = pageSize, replicas
		s := open(t, connect(t, urls), opts)
		names[s] = opts.Name
		return s
	}
	storetest.Run(t, storetest.Harness{
		Open: func(t *testing.T) broker.Store { return open(t, natsstore.Options{}) },
		Reopen: func(t *testing.T, s broker.Store) broker.Store {
			return open(t, natsstore.Options{Name: names[s]})
		},
		Small:    func(t *testing.T, n int) broker.Store { return open(t, natsstore.Options{MaxEvents: n}) },
		PageSize: pageSize,
	})
}

func TestAnEventIsNotTakenForOneOfAStreamThatIsGone(t *testing.T) {
	t.Parallel()
	e, name := startEngine(t), newName()
	one := open(t, connect(t, e.url()), natsstore.Options{Name: name})
	two := open(t, connect(t, e.url()), natsstore.Options{Name: name})
	first, err := one.Append(t.Context(), sse.Event{Data: "old"}, []string{"a"})
	require.NoError(t, err)
	e.lose(name)
	_, err = two.Last(t.Context()) // makes it anew
	require.NoError(t, err)
	id, err := one.Append(t.Context(), sse.Event{Data: "new"}, []string{"a"})
	require.NoError(t, err)
	last, err := two.Last(t.Context())
	require.NoError(t, err)
	assert.Equal(t, last, id)
	assert.NotEqual(t, first, id)
}

func TestARangeFromTheOldestIsNotOvertakenBeforeItsFirstEvent(t *testing.T) {
	t.Parallel()
	e, name := startEngine(t), newName()
	opts := natsstore.Options{Name: name, MaxEvents: 40, PageSize: 5}
	s, other := open(t, connect(t, e.url()), opts), open(t, connect(t, e.url()), opts)
	ctx, cancel := context.WithCancel(t.Context())
	var publishing sync.WaitGroup
	publishing.Go(func() {
		for ctx.Err() == nil {
			_, _ = other.Append(ctx, sse.Event{Data: "x"}, []string{"common"})
		}
	})
	for range 100 {
		for _, err := range s.Range(ctx, broker.Query{Topics: []string{"rare"}}) {
			assert.NoError(t, err)
		}
	}
	cancel()
	publishing.Wait()
}
