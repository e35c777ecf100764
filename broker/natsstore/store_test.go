package natsstore_test

import (
	"testing"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/broker/natsstore"
	"github.com/fanfare-go/fanfare/broker/storetest"
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
