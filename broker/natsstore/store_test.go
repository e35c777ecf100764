package natsstore_test

import (
	"testing"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/broker/natsstore"
	"github.com/fanfare-go/fanfare/broker/storetest"
)

func TestTheStoreKeepsTheRules(t *testing.T) {
	t.Parallel()
	const pageSize = 64
	e := startEngine(t)
	names := make(map[broker.Store]string)
	open := func(t *testing.T, opts natsstore.Options) broker.Store {
		if opts.Name == "" {
			opts.Name = newName()
		}
		opts.PageSize = pageSize
		s := open(t, connect(t, e.url()), opts)
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
