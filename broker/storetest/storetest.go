// Package storetest checks that a [broker.Store] keeps the rules that a
// [broker.Broker] relies on. An implementation of your own runs them all in one
// test:
//
//	func TestStore(t *testing.T) {
//		storetest.Run(t, storetest.Harness{
//			Open: func(t *testing.T) broker.Store {
//				s := mystore.Open(t.TempDir())
//				t.Cleanup(s.Close)
//				return s
//			},
//		})
//	}
//
// A Store that is a [broker.Follower] is held to the rules of Follow and
// Compare too. [Log] is such a Follower, in memory, for tests of what runs on
// one.
package storetest

import (
	"testing"
	"time"

	"github.com/fanfare-go/fanfare/broker"
)

// A Harness is how [Run] gets the Stores that it checks, and what it may
// expect of them. Its functions are called from the goroutine of the test t and
// free what they open with t.Cleanup; they fail t where they cannot open it.
type Harness struct {
	// Open returns an empty Store, whose history no other Store has. It must
	// hold a few thousand events. Required.
	Open func(t *testing.T) broker.Store

	// Reopen returns a Store with the history of s, as the next process would
	// open it; s is not used any more. nil: the history does not survive its
	// Store, and the cursors of one are unknown to the next.
	Reopen func(t *testing.T, s broker.Store) broker.Store

	// Small returns an empty Store that holds the newest maxEvents events, and
	// up to Slack more. nil: what is held cannot be limited, and the rules
	// about evicted events are skipped.
	Small func(t *testing.T, maxEvents int) broker.Store

	// Slack is how many events more than it was asked to a Small Store may
	// hold, where its engine trims in larger steps. 0: none.
	Slack int

	// PageSize is how many events Range reads at a time, at most. The rules use
	// histories of several pages. 0: 256.
	PageSize int

	// LargeData is the size in bytes of the data of the largest event that the
	// Store must take. 0: 1 MiB.
	LargeData int

	// Timeout is how long one rule may take before it fails. 0: 30 s.
	Timeout time.Duration
}

// Run checks every rule that applies to the Stores of h, each in a subtest of
// its own, on a Store of its own.
func Run(t *testing.T, h Harness) {
	for _, r := range rules() {
		t.Run(r.name, func(t *testing.T) { r.check(newTrial(t, t, h)) })
	}
}

// A rule is one sentence that is true of every Store.
type rule struct {
	name  string
	check func(*trial)
}

func rules() []rule {
	var all []rule
	for _, chapter := range [][]rule{storing, ranging, resuming, evicting, following} {
		all = append(all, chapter...)
	}
	return all
}
