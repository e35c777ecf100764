package broker_test

import (
	"testing"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/broker/storetest"
)

func TestAMemoryStoreKeepsTheRules(t *testing.T) {
	storetest.Run(t, storetest.Harness{
		Open: func(*testing.T) broker.Store { return broker.NewMemoryStore(nil) },
		Small: func(_ *testing.T, maxEvents int) broker.Store {
			return broker.NewMemoryStore(&broker.MemoryOptions{MaxEvents: maxEvents})
		},
	})
}
