package broker

import (
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/sse"
)

// gapCounter is an outlet that takes batches whole.
type gapCounter struct {
	outlet
	gaps int
}

func (c *gapCounter) blocks(*batch) (bool, error) { return true, nil }
func (c *gapCounter) event(sse.Event) error       { c.gaps++; return nil }
func (c *gapCounter) flush() error                { return nil }
func (c *gapCounter) park(bool)                   {}

// The subscriber empties its queue and parks while the shard finds that there is no
// room, drops an event, and says so: one of them has to see what the other did. The
// test does what the shard would.
func TestWhoParksAsAnEventIsDroppedIsToldOfTheGap(t *testing.T) {
	b := New(nil)
	defer b.Close()
	s := &shard{slow: DropNewest, queueSize: 1, queueBytes: 1 << 10, stats: &b.stats, inbox: make(chan op, 1), done: make(chan struct{})}
	event := &batch{frame: &frame{data: []byte("data: x\n\n")}, events: 1, size: 9, first: 9}
	for i := range 20_000 {
		s.ready = nil
		sub := &Subscription{b: b, tally: &s.tally}
		r := &registration{sub: sub, shard: s, count: 1}
		r.busy.Store(1)
		s.put(r, item{event, 1})

		var begun atomic.Bool
		out := new(gapCounter)
		ended := make(chan error)
		go func() {
			begun.Store(true)
			for range i % 8192 { // so that the two meet at different points
				begun.Load()
			}
			ended <- sub.drain(t.Context(), out, r)
		}()
		for !begun.Load() {
			runtime.Gosched()
		}
		r.count++
		s.push(r, event)
		require.Equal(t, errParked, <-ended)

		told := out.gaps + len(s.inbox) // in there is the question how many were dropped
		next := r.carried.batch         // the next turn begins with it
		if len(r.queue) > 0 {
			next = (<-r.queue).batch
		}
		if next != nil && next.events == 0 {
			told++ // a mark
		}
		for len(s.inbox) > 0 {
			<-s.inbox
		}
		if r.missed.Load() == 0 {
			assert.Zero(t, told, "nothing was dropped")
		} else {
			require.Positive(t, told)
		}
	}
}
