package broker

// A Follower may lose its newest events, in a crash, a failover, or as a backup is
// restored, and give their IDs again to others. Then the order of IDs is not that of
// events any more for who has what was lost: what comes next would be left out, as if
// it was known, and a cursor would be taken for that of another event.
//
// So the newest ID goes back, and so do the ends and beginnings of all that is to be
// replayed. A gap goes to every subscriber, in its place among the events, and who
// meets it with a cursor that is lost has none from there on.

// A setBack says that the Follower has lost what came after an ID, and that a gap
// stands for it: see [Broker.setBack]. IDs after that one are given again, and are
// those of other events then.
type setBack struct {
	at   uint64 // item.n of the gap
	last string // the ID
}

// setBack makes last the newest ID, which comes before the one that was, for the
// Store has lost what is between. All subscribers are told a gap.
func (b *Broker) setBack(last string) {
	b.order.Lock()
	defer b.order.Unlock()
	if b.frozen {
		return
	}
	b.newest = last
	for s := range b.subs {
		s.setBackLocked(last)
	}
	b.tellGapLocked(last, &frame{})
}

// setBackLocked says that the history ends with an ID, from which it goes on: what was
// to begin, or to end, after that does so there.
func (s *Subscription) setBackLocked(last string) {
	f := s.b.follower
	if s.known && f.Compare(s.through, last) > 0 {
		s.through = last
	}
	c := s.changes.Load()
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range c.epochs {
		if e.after != "" && f.Compare(e.after, last) > 0 {
			e.after = last
		}
	}
}

// noteSetBack notes that the history was set back to an ID, for which the gap stands
// that was counted last.
func (r *registration) noteSetBack(last string) {
	if before := r.setBack.Load(); before != nil && r.sub.b.follower.Compare(before.last, last) < 0 {
		last = before.last // nobody knows here whether that gap was told
	}
	r.setBack.Store(&setBack{r.count, last})
}

// forgetLost makes s have no cursor where it has one that the Follower has lost, with a
// gap for it that s has not been told yet: if the ID has been given again, it is that
// of another event, and those before that are missing.
func (s *Subscription) forgetLost(reg *registration) {
	back := reg.setBack.Load()
	if back == nil || back.at <= s.seen {
		return
	}
	f := s.b.follower
	if s.position != "" && f.Compare(s.position, back.last) > 0 {
		s.position = ""
	}
	if s.handed != "" && f.Compare(s.handed, back.last) > 0 {
		s.handed = ""
	}
}
