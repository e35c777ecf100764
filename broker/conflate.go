package broker

// conflate makes room in r's queue for b, if it is full, by what [Conflate]
// allows: of several queued events with one key only the newest stays, and none
// with the key of b.
//
// All that is queued is taken out for it and what stays is put back, while the
// subscriber may not take any: it would get a later event before an earlier one.
// A queue of slots that could be taken from the middle would cost each subscriber
// that is not slow as much as one that is; so a slow one pays for it, some
// microseconds for each event that comes while its queue is full.
//
// What is taken out is not missing, so those behind it are counted anew.
func (s *shard) conflate(r *registration, b *batch) {
	if s.fits(r, b) {
		return
	}
	r.taking.Lock()
	defer r.taking.Unlock()
	items := s.items[:0]
	for len(r.queue) > 0 {
		items = append(items, <-r.queue)
	}
	if key := b.frame.key; key != "" {
		s.newer[key] = struct{}{}
	}
	for i := len(items) - 1; i >= 0; i-- {
		old := items[i].batch
		if old.frame.key == "" {
			continue
		}
		if _, ok := s.newer[old.frame.key]; ok {
			r.leave(old.events, old.size)
			items[i].batch = nil
		}
		s.newer[old.frame.key] = struct{}{}
	}
	var replaced uint64
	r.first = 0 // what was queued when the queue was empty may be gone
	changes := r.sub.changes.Load()
	for _, it := range items {
		it.n -= replaced
		if it.batch == nil {
			replaced++
			if changes != nil {
				changes.forget(r, it.n)
			}
			continue
		}
		if r.first == 0 && it.batch.events > 0 {
			r.first = r.bytesOut.Load() + uint64(it.batch.size)
		}
		r.queue <- it // there is room, and nobody else sends
	}
	r.count -= replaced
	s.stats.conflated.Add(replaced)
	clear(items)
	clear(s.newer)
	s.items = items
}
