package redisstore

import (
	"context"
	"iter"
	"slices"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/sse"
)

// Range yields the events that q asks for: see [broker.Store]. It reads every
// event between the cursors, whatever its topics; with Query.Newest backwards,
// until it has found as many, which it keeps in memory.
func (s *Store) Range(ctx context.Context, q broker.Query) iter.Seq2[sse.Event, error] {
	return func(yield func(sse.Event, error) bool) {
		err := s.scan(ctx, q, func(e entry) bool { return yield(e.message.Event, nil) })
		if err != nil {
			yield(sse.Event{}, err)
		}
	}
}

// scan yields what q asks for. It returns nil if yield does not want more.
func (s *Store) scan(ctx context.Context, q broker.Query, yield func(entry) bool) error {
	st, c, err := s.begin(ctx, q.After)
	if err != nil {
		return err
	}
	through := st.last
	if q.Through != "" {
		through = parse(q.Through)
	}
	resumes := q.After != ""
	if q.Newest > 0 {
		if resumes && st.last.before(through) {
			return broker.ErrGap // the server has lost it
		}
		entries, err := s.newest(ctx, q, c.at, through)
		for _, e := range entries {
			if !yield(e) {
				return nil
			}
		}
		return err
	}
	inside := resumes // something comes before what is read next
	for c.at.before(through) {
		entries, err := s.read(ctx, &c)
		for _, e := range entries {
			if through.before(e.at) {
				if resumes && e.at.sequence <= through.sequence {
					return broker.ErrGap // the server has lost it, and given its number again
				}
				return nil
			}
			if !e.wanted(q.Topics) {
				continue
			}
			inside = true
			if !yield(e) {
				return nil
			}
		}
		if err == broker.ErrGap && !inside {
			c = cursor{} // there is nothing between which it could be missing: on from the oldest
			continue
		}
		if err != nil {
			return err
		}
		if len(entries) == 0 && c.at.before(through) {
			// The server has lost it. From the oldest on there is no gap: nobody
			// could be told more if that was one.
			if resumes {
				return broker.ErrGap
			}
			return nil
		}
	}
	return nil
}

// newest returns the newest entries that q asks for, oldest first.
func (s *Store) newest(ctx context.Context, q broker.Query, after, through position) ([]entry, error) {
	var found []entry // newest first
	end := through
	end.sequence++
	for {
		entries, err := s.back(ctx, end)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if !after.before(e.at) {
				break
			}
			if end = e.at; e.wanted(q.Topics) {
				found = append(found, e)
			}
			if len(found) == q.Newest {
				slices.Reverse(found)
				return found, nil
			}
		}
		if len(entries) == 0 || !after.before(entries[len(entries)-1].at) {
			break
		}
	}
	if q.After != "" && end.sequence > after.sequence+1 {
		return nil, broker.ErrGap // evicted meanwhile
	}
	slices.Reverse(found)
	return found, nil
}

// cursor is where a reader stands.
type cursor struct {
	at     position // of the newest entry read
	begun  bool     // at is to be followed by the next sequence; if not, by the oldest entry held
	strict bool     // not even what was deleted by hand may be missing
}

// advance moves c to the next entries that were read, and returns those before
// which nothing is missing. A hole that eviction makes is a gap. What was
// deleted by hand is one for a cursor that comes back, once: a reader that
// starts over from the oldest would meet the same hole again and again.
func (c *cursor) advance(st state, entries []entry) ([]entry, error) {
	if c.begun && st.last.epoch != c.at.epoch {
		return nil, broker.ErrGap
	}
	for i, e := range entries {
		if c.begun && !e.follows(c.at) && (c.strict || st.first > c.at.sequence+1) {
			return entries[:i], broker.ErrGap
		}
		c.at, c.begun = e.at, true
	}
	return entries, nil
}

// skip moves c to the end of a history of which nothing is left after c. One that
// ends before c was set back: c is about another.
func (c *cursor) skip(st state) error {
	if c.begun && st.last.before(c.at) {
		return broker.ErrGap
	}
	if c.begun && c.at.before(st.last) && (c.strict || st.first > c.at.sequence+1) {
		return broker.ErrGap
	}
	c.at, c.begun = st.last, true
	return nil
}
