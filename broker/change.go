package broker

import (
	"errors"
	"math"
	"slices"
	"sync"
	"sync/atomic"
)

// A subscription whose topics have changed has epochs: stretches of the one
// order of events, with the topics of each. A new one begins with every Add, at
// the newest ID. Remove takes its topics out of all of them, so that what is
// queued or stored from before is not handed out, also if they are added again.
//
// Where an epoch begins in the queue, the shard says by a count, as it has the
// topics from then on; where it begins in the Store, its ID says. Which of them
// it is turns out when the queue is closed as it was full:
//
//   - The shard has counted, and the queue held all before it: the subscriber
//     has passed it. If nothing came after it, the position is that ID, or the
//     replay would bring what was published on the new topics before.
//   - The queue was closed already: the replay goes through that ID with the
//     old topics, and on with the new ones.
//
// An Add after that is about the next registration.
type changes struct {
	mu     sync.Mutex     // guards what follows; locked after the order lock, and after registration.taking
	epochs []*epoch       // the one that the subscriber is in, and those to come
	since  map[string]int // topics that the subscription has: number of the epoch that each was added in
	begun  int            // epochs so far, which is the number of the newest

	// Guarded by the order lock: Subscription.topics, with room for more. The lists of
	// several epochs may begin in the same array, for nobody changes what is in one;
	// a copy for each Add would be quadratic.
	topics []string
}

type epoch struct {
	number int
	after  string   // the newest ID when it began; "" if that was not known yet
	frames uint64   // Broker.frames when it began
	topics []string // without those that were removed since

	reg   *registration // in whose queue it begins; nil: it does in the Store
	count atomic.Uint64 // item.n of the last event before it in that queue
}

// uncounted is the count of an epoch that begins in no queue, or not yet.
const uncounted = math.MaxUint64

// errChanged ends a replay that may be about topics which were removed.
var errChanged = errors.New("broker: topics changed")

// Add subscribes to further topics, from now on: no earlier event on them is
// ever yielded for it, also not while the Subscription catches up. Topics that
// it has already stay as they are; without any, nothing changes. The slice is
// not kept. The error is [ErrClosed], and then nothing was added.
//
// Add and Remove may be called in a loop over Events and from any other
// goroutine.
func (s *Subscription) Add(topics ...string) error {
	s.b.order.Lock()
	defer s.b.order.Unlock()
	if s.closed.Load() || s.b.isRefusing() {
		return ErrClosed
	}
	if added := distinct(without(topics, s.topics)); len(added) > 0 {
		s.changeLocked(added, nil)
	}
	return nil
}

// Remove ends the subscription to topics: once it has returned, Events yields
// nothing that was published on them alone, but for the event it is just about
// to yield if Remove is called in another goroutine. A Subscription without
// topics stays open, and gets nothing until Add.
func (s *Subscription) Remove(topics ...string) {
	s.b.order.Lock()
	defer s.b.order.Unlock()
	removed := both(topics, s.topics)
	if len(removed) == 0 || s.closed.Load() {
		return
	}
	s.changeLocked(nil, removed)
	if s.interrupt != nil {
		s.interrupt(errChanged)
	}
}

// changeLocked adds topics, which s does not have, or removes some that it has: one
// of the two is empty.
func (s *Subscription) changeLocked(added, removed []string) {
	c := s.changes.Load()
	if c == nil {
		c = &changes{epochs: []*epoch{{topics: s.topics}}, topics: s.topics, since: make(map[string]int, len(s.topics))}
		for _, t := range s.topics {
			c.since[t] = 0
		}
		s.changes.Store(c)
	}
	if len(removed) > 0 {
		c.topics = without(c.topics, removed)
	}
	c.topics = append(c.topics, added...)
	s.topics = slices.Clip(c.topics)
	var e *epoch
	if len(added) > 0 {
		e = &epoch{after: s.b.newest, frames: s.b.frames, topics: s.topics, reg: s.reg}
		e.count.Store(uncounted)
	}
	c.change(e, added, removed)
	r := s.reg
	if r == nil {
		return
	}
	for _, t := range added {
		s.b.changeInterestLocked(t, r.shard, +1)
	}
	for _, t := range removed {
		s.b.changeInterestLocked(t, r.shard, -1)
	}
	r.shard.send(op{reg: r, do: func(s *shard, o op) { s.change(o.reg, added, removed, e) }})
}

// change takes removed out of all epochs, and appends e, which has added, unless it
// is nil.
func (c *changes) change(e *epoch, added, removed []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range removed {
		delete(c.since, t)
	}
	if len(removed) > 0 {
		for _, e := range c.epochs {
			e.topics = without(e.topics, removed)
		}
	}
	// One that was begun for what has been removed again is the one before it.
	c.epochs = slices.CompactFunc(c.epochs, func(a, b *epoch) bool { return slices.Equal(a.topics, b.topics) })
	if e == nil {
		return
	}
	c.begun++
	e.number = c.begun
	for _, t := range added {
		c.since[t] = e.number
	}
	c.epochs = append(c.epochs, e)
	// An epoch in which nothing was queued is none, or whoever changes topics
	// all day long without an event would have more and more of them.
	for i := len(c.epochs) - 1; i >= 2; i-- {
		if c.epochs[i-1].isEmpty(c.epochs[i]) {
			c.epochs = slices.Delete(c.epochs, i-1, i)
		}
	}
}

// isEmpty reports whether no event came after e and before next, which follows it.
func (e *epoch) isEmpty(next *epoch) bool {
	n := e.count.Load()
	return e.frames == next.frames || n != uncounted && n == next.count.Load() && e.reg == next.reg
}

// forget says that number n in the queue of r, which nobody has taken, is not there
// any more: those behind it are counted anew.
func (c *changes) forget(r *registration, n uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.epochs {
		if count := e.count.Load(); e.reg == r && count != uncounted && count >= n {
			e.count.Store(count - 1)
		}
	}
}

// wants reports whether the event that is number n in the queue of r is to be
// handed out, though topics have changed.
func (s *Subscription) wants(r *registration, f *frame, n uint64) bool {
	c := s.changes.Load()
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.epochs) > 1 && c.epochs[1].reg == r && c.epochs[1].count.Load() < n {
		c.epochs = c.epochs[1:]
	}
	return slices.ContainsFunc(f.topics, func(t string) bool {
		since, ok := c.since[t]
		return ok && since <= c.epochs[0].number
	})
}

// settleLocked is called when the queue was full and has been emptied, before
// there is another one: what has been passed is over, the rest is in the Store.
func (s *Subscription) settleLocked() {
	c := s.changes.Load()
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.epochs) > 1 && c.epochs[1].count.Load() <= s.seen {
		if c.epochs[1].count.Load() == s.seen {
			s.passOver(s.b.beginning(c.epochs[1]))
		}
		c.epochs = c.epochs[1:]
	}
	for _, e := range c.epochs[1:] {
		e.reg = nil
	}
}

// beginning returns the ID after which e begins. While it was not known no event
// was handed over.
func (b *Broker) beginning(e *epoch) string {
	if e.after == "" {
		return b.origin
	}
	return e.after
}

// passOver notes that everything up to id is done, if it is not yet.
func (s *Subscription) passOver(id string) {
	if !s.isBehind(id) {
		s.moveTo(id)
	}
}

// stretch returns the topics of the replay from here on, and, unless they are
// those through its end, the epoch before which it ends, and up to which ID.
func (s *Subscription) stretch() (topics []string, through string, next *epoch) {
	s.b.order.Lock()
	defer s.b.order.Unlock()
	c := s.changes.Load()
	if c == nil {
		return s.topics, "", nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.epochs) > 1 && c.epochs[1].reg == nil {
		return c.epochs[0].topics, s.b.beginning(c.epochs[1]), c.epochs[1]
	}
	return c.epochs[0].topics, "", nil
}

// endStretch goes on with the next one, unless a Remove has made it one with this
// meanwhile.
func (s *Subscription) endStretch(through string, next *epoch) {
	s.passOver(through)
	c := s.changes.Load()
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := slices.Index(c.epochs, next); i > 0 {
		c.epochs = c.epochs[i:]
	}
}

// change changes the topics of r from here on, which is where e begins.
func (s *shard) change(r *registration, added, removed []string, e *epoch) {
	if r.group != nil {
		s.emitEarly(r) // was gathered before
	}
	if r.group == nil {
		return
	}
	if e != nil {
		e.count.Store(r.count)
	}
	g := s.ownGroup(r)
	if len(removed) > 0 {
		isRemoved := among(removed, len(g.topics))
		// Backwards: the last takes the place of one that goes, and has had its turn.
		for i := len(g.topics) - 1; i >= 0; i-- {
			if isRemoved(g.topics[i]) {
				s.unlist(g, i)
			}
		}
	}
	for _, t := range added {
		s.list(g, t)
	}
}
