package broker

import (
	"context"
	"iter"
	"slices"

	"github.com/fanfare-go/fanfare/sse"
)

// What one page of [MemoryStore.Range] is bounded by. A page pins its events
// while the caller is busy with it, even once they are evicted, so it is small;
// the last bound keeps the lock short where few events match.
const (
	pageEvents = 128
	pageBytes  = 64 << 10 // beyond the first event
	pageScan   = 1024     // events looked at
)

// Range yields the events that q asks for: see [Store]. While the caller has
// an event no lock is held. An event that expires between the reading of its
// page and its turn is still yielded. Where ctx ends, its cause is the last
// element.
func (s *MemoryStore) Range(ctx context.Context, q Query) iter.Seq2[sse.Event, error] {
	return func(yield func(sse.Event, error) bool) {
		r, err := s.seek(q)
		if err == nil && q.Newest > 0 {
			err = s.rewind(ctx, r, q.Newest)
		}
		for err == nil && r.next <= r.through {
			err = s.read(ctx, r)
			for _, ev := range r.page {
				if !yield(ev, nil) {
					return
				}
			}
		}
		if err != nil {
			yield(sse.Event{}, err)
		}
	}
}

// A memoryRange is where one call of Range stands.
type memoryRange struct {
	next, through uint64 // positions still to be read; none if next > through
	strict        bool   // an event from next on that was evicted unread is a gap
	wants         func(topics []string) bool
	page          []sse.Event // read, and not yet yielded; empty after an error
}

// seek returns the range that q asks for, with nothing read.
func (s *MemoryStore) seek(q Query) (*memoryRange, error) {
	r := &memoryRange{strict: q.After != "", wants: matcher(q.Topics)}
	s.rlock()
	defer s.mu.RUnlock()

	r.next, r.through = s.first, s.next-1
	if q.After != "" {
		after, ok := s.positionLocked(q.After)
		if !ok {
			return r, ErrGap
		}
		r.next = after + 1
	}
	if q.Through != "" {
		through, ok := s.positionLocked(q.Through)
		if !ok {
			// Through is an ID of ours, so it has been evicted, and everything
			// before it. What After names has not: it comes later, and nothing
			// lies between.
			through = s.first - 1
		}
		r.through = through
	}
	return r, nil
}

// rewind leaves only the newest n events of r to be read. It looks for the
// first of them from the end, so that none need be kept to find it.
func (s *MemoryStore) rewind(ctx context.Context, r *memoryRange, n int) error {
	for p := r.through + 1; p > r.next; { // p and what follows has been looked at
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		s.rlock()
		oldest := max(r.next, s.first)
		for range pageScan {
			if p <= oldest {
				// Fewer than n are held: r stays as it is. If some that it asks
				// for have been evicted, read finds that out.
				s.mu.RUnlock()
				return nil
			}
			p--
			if r.wants(s.slotLocked(p).topics) {
				n--
			}
			if n == 0 {
				r.next = p
				s.mu.RUnlock()
				return nil
			}
		}
		s.mu.RUnlock()
	}
	return nil
}

// read fills r.page with the next events of r, or reports that some are
// missing.
//
// Between two pages, events come and go. One that comes lies after r.through,
// which was fixed at the start. Those that go are the oldest, so it is enough
// to look at where the history begins now:
//
//   - At or before r.next: all that r has yet to read is held.
//   - After r.next, which is not after r.through: the event at r.next has gone
//     unread. Its topics are not known any more, so it counts as missed.
//   - Whatever has gone when r.next is after r.through was read or not asked
//     for: read is not called again.
//
// A range from the oldest event is not strict until it has yielded one: what
// went before that was not the oldest any more.
func (s *MemoryStore) read(ctx context.Context, r *memoryRange) error {
	clear(r.page)
	r.page = r.page[:0]
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	s.rlock()
	defer s.mu.RUnlock()
	if r.next < s.first {
		if r.strict {
			return ErrGap
		}
		r.next = s.first
	}
	if r.page == nil && r.next <= r.through {
		r.page = make([]sse.Event, 0, min(pageEvents, r.through-r.next+1))
	}
	size := 0
	for range pageScan {
		if r.next > r.through || len(r.page) == cap(r.page) {
			break
		}
		held := s.slotLocked(r.next)
		if r.wants(held.topics) {
			size += len(held.event.ID) + len(held.event.Type) + len(held.event.Data)
			if size > pageBytes && len(r.page) > 0 {
				break
			}
			r.page = append(r.page, held.event)
			r.strict = true
		}
		r.next++
	}
	return nil
}

// matcher returns a function that reports whether an event published on topics
// is wanted: nil is all, otherwise one of them must be.
func matcher(wanted []string) func(topics []string) bool {
	if wanted == nil {
		return func([]string) bool { return true }
	}
	isWanted := among(wanted, pageScan)
	return func(topics []string) bool { return slices.ContainsFunc(topics, isWanted) }
}
