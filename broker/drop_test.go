package broker

import (
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// The subscriber empties its queue and parks while the shard finds that there is no
// room, drops an event, and says so: one of them has to see what the other did.
func TestWhoParksAsAnEventIsDroppedIsToldOfTheGap(t *testing.T) {
	b := &batch{frame: &frame{data: []byte("data: x\n\n")}, events: 1, size: 9, first: 9}
	s := &shard{slow: DropNewest, queueSize: 1, queueBytes: 1 << 10, stats: new(counters)}
	dropped := 0
	for i := range 20_000 {
		s.ready = nil
		r := &registration{sub: new(Subscription), shard: s}
		r.busy.Store(1)
		r.count = 1
		s.put(r, item{b, 1})

		var ready atomic.Bool
		told := make(chan bool)
		go func() { // as drain does
			ready.Store(true)
			for range i % 8192 { // so that the two meet at different points
				ready.Load()
			}
			seen, gap := uint64(0), false
			for parked := false; !parked; {
				busy := r.busy.Load()
				missed := r.missed.Load()
				for it, _ := r.receive(busy); it.batch != nil; it, _ = r.receive(busy) {
					gap = gap || it.n > seen+uint64(it.batch.events)
					seen = it.n
					r.leave(it.batch.events, it.batch.size)
					missed = r.missed.Load()
				}
				gap = gap || missed > seen
				parked = r.park(busy)
			}
			told <- gap
		}()
		for !ready.Load() {
			runtime.Gosched()
		}
		r.count++
		s.push(r, b)
		gap := <-told
		if r.missed.Load() == 0 {
			continue // it was in time
		}
		dropped++
		mark := r.carried.batch != nil && r.carried.n == 2
		if len(r.queue) > 0 {
			mark = (<-r.queue).n == 2
		}
		require.True(t, gap || mark)
	}
	t.Log("dropped", dropped)
}
