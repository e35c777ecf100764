package broker

import "time"

// Who a write is for may run on the same cores: a proxy, or a load generator. The
// kernel lets whoever writes keep its core for a millisecond or more after it has
// woken them. So who writes to many yields the core once in a while, as arriving is
// what a write is for. With 500 subscribers on the same two cores and 100 events per
// second, an event has arrived at half of them after 1.7 ms instead of 2.2. Where
// nobody waits for the core it costs 0.3 µs, and two looks at the clock.
//
// Who reads at once is also woken more often, which may cost a fifth more than the
// writes alone. So only who has time to spare yields: who works no more than a
// quarter of the time. And to somebody who computes all the time it would give the
// core away at each occasion. That shows in how long it takes to get it back: then
// there is no more of it for a while. A new yielder knows nothing yet, and does not
// yield.
type yielder struct {
	writes int           // or turns of a worker, since the last occasion
	never  time.Duration // until this age of the Broker it does not yield

	busy, idle   time.Duration // how long it worked and waited of late, without what it yielded
	began, ended time.Duration // when it last began to work, put off by what it yielded, and ended
}

const (
	yieldAfter = 32 // writes, which take some 200 µs
	yieldIdle  = 3  // times as long as busy
	yieldSpan  = 64 * time.Millisecond
	maxYield   = 600 * time.Microsecond
	yieldDebt  = 32
)

// begin and end tell at which ages of the Broker the work begins and ends.
func (y *yielder) begin(age time.Duration) {
	y.began = age
	if y.ended > 0 {
		y.idle = min(y.idle+age-y.ended, yieldSpan)
	}
}

func (y *yielder) end(age time.Duration) {
	y.ended = age
	y.busy = min(y.busy+age-y.began, yieldSpan)
	if y.busy+y.idle > yieldSpan {
		y.busy, y.idle = y.busy/2, y.idle/2
	}
}

// wrote counts a write, and reports whether it called yield after it.
func (y *yielder) wrote(born time.Time, yield func()) bool {
	if y.writes++; y.writes < yieldAfter {
		return false
	}
	y.writes = 0
	if y.idle <= yieldIdle*y.busy {
		return false
	}
	age := time.Since(born)
	if age < y.never {
		return false
	}
	yield()
	took := time.Since(born) - age
	if took > maxYield {
		y.never = age + yieldDebt*took
	}
	y.began += took
	return true
}
