package broker

import "slices"

// registerLocked registers s with the shard that has the least to do: the
// Store has what came before, the queue gets what comes after. Once the newest
// ID is frozen there is nothing to come. The caller holds the order lock.
func (b *Broker) registerLocked(s *Subscription) {
	s.reg, s.through, s.known = nil, b.newest, b.hasStarted()
	if b.frozen || s.closed.Load() {
		return
	}
	r := &registration{
		sub:       s,
		shard:     slices.MinFunc(b.shards, func(x, y *shard) int { return x.load - y.load }),
		waits:     s.stream == nil,
		conflates: b.opts.Slow == Conflate,
	}
	if r.waits {
		r.queue = r.shard.newQueue()
		if r.conflates {
			r.signal = make(chan struct{}, 1)
		}
	} else {
		r.busy.Store(1) // it is the turn of whoever serves it
	}
	r.shard.load++
	s.tally = &r.shard.tally
	topics := s.topics
	for _, topic := range topics {
		b.changeInterestLocked(topic, r.shard, +1)
	}
	s.reg = r
	r.shard.send(op{reg: r, do: func(s *shard, o op) { s.register(o.reg, topics) }})
}

// unregisterLocked ends the registration of s, if it has one: the shard closes
// its queue, unless it has done so already.
func (b *Broker) unregisterLocked(s *Subscription) {
	r := s.reg
	if r == nil {
		return
	}
	s.reg = nil
	r.shard.load--
	for _, topic := range s.topics {
		b.changeInterestLocked(topic, r.shard, -1)
	}
	r.shard.send(op{do: (*shard).unregister, reg: r})
}

// reregister gives s a new registration in place of one that fell behind.
func (b *Broker) reregister(s *Subscription) {
	b.order.Lock()
	defer b.order.Unlock()
	b.unregisterLocked(s)
	s.settleLocked()
	b.registerLocked(s)
}

func (s *Subscription) registration() *registration {
	s.b.order.Lock()
	defer s.b.order.Unlock()
	return s.reg
}

// changeInterestLocked counts n more registrations for topic at a shard.
func (b *Broker) changeInterestLocked(topic string, s *shard, n int) {
	list := b.interest[topic]
	i := slices.IndexFunc(list, func(in interest) bool { return in.shard == s })
	if i < 0 {
		b.interest[topic] = append(list, interest{s, n})
		return
	}
	if list[i].n += n; list[i].n > 0 {
		return
	}
	list = slices.Delete(list, i, i+1)
	if len(list) == 0 {
		delete(b.interest, topic)
	} else {
		b.interest[topic] = list
	}
}

// markCount has the shard tell s how many events it has had for it, dropped
// ones included. The answer comes through the queue.
func (b *Broker) markCount(r *registration) {
	b.order.Lock()
	defer b.order.Unlock()
	r.shard.send(op{do: (*shard).mark, reg: r, mark: newMark("")})
}

// wake has a loop over Events look around.
func (b *Broker) wake(s *Subscription) {
	if r := s.registration(); r != nil {
		b.markCount(r)
	}
}

func (b *Broker) hasStarted() bool {
	select {
	case <-b.started:
		return true
	default:
		return false
	}
}

// serve notes that somebody is taking the subscription's events, for which
// Shutdown waits. It reports whether nobody else is.
func (s *Subscription) serve() bool {
	s.b.order.Lock()
	defer s.b.order.Unlock()
	if s.serving {
		return false
	}
	s.serving = true
	s.b.serving++
	return true
}

func (s *Subscription) unserve() {
	s.b.order.Lock()
	defer s.b.order.Unlock()
	s.serving = false
	delete(s.b.leaving, s)
	s.b.serving--
	s.b.settleLocked()
}
