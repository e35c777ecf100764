package redisstore_test

import (
	"testing"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/broker/redisstore"
	"github.com/fanfare-go/fanfare/broker/storetest"
)

func TestTheStoreKeepsTheRules(t *testing.T) {
	t.Parallel()
	const pageSize = 64
	e := startEngine(t)
	names := make(map[broker.Store]string)
	open := func(t *testing.T, opts redisstore.Options) broker.Store {
		if opts.Name == "" {
			opts.Name = newName()
		}
		opts.PageSize = pageSize
		s := open(t, connect(t, e.addr()), opts)
		names[s] = opts.Name
		return s
	}
	harness := storetest.Harness{
		Open: func(t *testing.T) broker.Store { return open(t, redisstore.Options{}) },
		Reopen: func(t *testing.T, s broker.Store) broker.Store {
			return open(t, redisstore.Options{Name: names[s]})
		},
		Small:    func(t *testing.T, n int) broker.Store { return open(t, redisstore.Options{MaxEvents: n}) },
		PageSize: pageSize,
	}
	t.Run("with exact limits", func(t *testing.T) { storetest.Run(t, harness) })

	harness.Small = func(t *testing.T, n int) broker.Store {
		return open(t, redisstore.Options{MaxEvents: n, Approximate: true})
	}
	harness.Slack = 100 // stream-node-max-entries
	t.Run("with approximate limits", func(t *testing.T) { storetest.Run(t, harness) })
}
