package storetest_test

import (
	"testing"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/broker/storetest"
)

func TestALogKeepsTheRules(t *testing.T) {
	storetest.Run(t, storetest.Harness{
		Open:   func(*testing.T) broker.Store { return storetest.NewLog() },
		Reopen: func(_ *testing.T, s broker.Store) broker.Store { return s },
		Small: func(_ *testing.T, maxEvents int) broker.Store {
			l := storetest.NewLog()
			l.Limit(maxEvents)
			return l
		},
		PageSize: 16,
	})
}
