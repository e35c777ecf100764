package storetest

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
	"testing"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/sse"
)

var faults = []fault{
	{name: "an ID is given twice", breaks: []string{
		"Append gives each event an ID of its own",
	}, store: func(s *faulty) {
		n := 0
		s.append = func(ctx context.Context, ev sse.Event, topics []string) (string, error) {
			id, err := s.Follower.Append(ctx, ev, topics)
			if n++; n == 50 {
				return s.Follower.(*Log).id(49), err
			}
			return id, err
		}
	}},
	{name: "every hundredth event is not stored", breaks: []string{
		"events appended at once are all stored, in one order",
	}, store: func(s *faulty) {
		s.append = func(ctx context.Context, ev sse.Event, topics []string) (string, error) {
			if strings.HasSuffix(ev.Data, "49") {
				return "lost", nil
			}
			return s.Follower.Append(ctx, ev, topics)
		}
	}},
	{name: "Last lags", breaks: []string{
		"Last is the ID of the newest event",
	}, store: func(s *faulty) {
		before := ""
		s.last = func(ctx context.Context) (string, error) {
			id, err := s.Follower.Last(ctx)
			before, id = id, before
			return id, err
		}
	}},
	{name: "an empty Store has no ID", breaks: []string{
		"Last of an empty Store comes before all to come",
	}, store: func(s *faulty) {
		s.last = func(ctx context.Context) (string, error) {
			id, err := s.Follower.Last(ctx)
			return strings.TrimSuffix(id, s.Follower.(*Log).id(0)), err
		}
	}},
	{name: "Retry is lost", breaks: []string{
		"all fields of an event are kept", "Follow keeps all fields, data and topics byte for byte",
	}, store: altersEvents(func(ev *sse.Event) { ev.Retry = 0 })},
	{name: "line ends become LF", breaks: []string{
		"data and types are kept byte for byte",
	}, store: altersEvents(func(ev *sse.Event) { ev.Data = strings.ReplaceAll(ev.Data, "\r\n", "\n") })},
	{name: "data is cut", breaks: []string{
		"a large event is kept",
	}, store: altersEvents(func(ev *sse.Event) { ev.Data = ev.Data[:min(len(ev.Data), 1<<20-1)] })},
	{name: "the publisher's slice is kept", breaks: []string{
		"Append keeps no slice of its caller",
	}, store: func(s *faulty) {
		s.append = func(ctx context.Context, ev sse.Event, topics []string) (string, error) {
			id, err := s.Follower.Append(ctx, ev, topics)
			l := s.Follower.(*Log)
			l.held[len(l.held)-1].Topics = topics
			return id, err
		}
	}},
	{name: "the publisher's ID is ignored", breaks: []string{
		"an ID given by the publisher is stored once", "an ID given twice is followed once",
	}, store: altersEvents(func(ev *sse.Event) { ev.ID = "" })},
	{name: "a duplicate is not told", breaks: []string{
		"an ID given by the publisher is stored once",
		"of one ID given at once from many goroutines one is stored",
	}, store: func(s *faulty) {
		s.append = func(ctx context.Context, ev sse.Event, topics []string) (string, error) {
			id, _ := s.Follower.Append(ctx, ev, topics)
			return id, nil
		}
	}},
	{name: "a duplicate replaces the first", breaks: []string{
		"an ID given by the publisher is stored once",
	}, store: func(s *faulty) {
		s.append = func(ctx context.Context, ev sse.Event, topics []string) (string, error) {
			id, err := s.Follower.Append(ctx, ev, topics)
			l := s.Follower.(*Log)
			if errors.Is(err, broker.ErrDuplicate) {
				l.held[l.number(id)-l.first].Event.Data = ev.Data
			}
			return id, err
		}
	}},

	{name: "the last event is dropped", breaks: []string{
		"Range yields what comes after one ID, up to and with another",
		"Range takes many topics",
	}, store: func(s *faulty) {
		s.ranges = func(ctx context.Context, q broker.Query) iter.Seq2[sse.Event, error] {
			return func(yield func(sse.Event, error) bool) {
				var held []sse.Event
				for ev, err := range s.Follower.Range(ctx, q) {
					if err != nil {
						yield(ev, err)
						return
					}
					if held = append(held, ev); len(held) > 1 && !yield(held[len(held)-2], nil) {
						return
					}
				}
			}
		}
	}},
	{name: "the event of the cursor is yielded again", breaks: []string{
		"Range yields what comes after one ID, up to and with another",
	}, store: altersQueries(func(q *broker.Query) {
		if prefix, n, ok := strings.Cut(q.After, "-"); ok && n == "3" {
			q.After = prefix + "-2"
		}
	})},
	{name: "Through is ignored", breaks: []string{
		"Range yields what comes after one ID, up to and with another",
		"an evicted event is not yielded, whatever Through is",
	}, store: altersQueries(func(q *broker.Query) { q.Through = "" })},
	{name: "an event is lost between two pages", breaks: []string{
		"Range reads a history of many pages", "a cursor before evicted events is a gap",
	}, store: selects(func(i int, _ broker.Query, _ error) bool { return i%16 != 9 })},
	{name: "topics are ignored", breaks: []string{
		"Range yields the events of the topics asked for, each once",
	}, store: altersQueries(func(q *broker.Query) { q.Topics = nil })},
	{name: "the empty topic is all topics", breaks: []string{
		"Range yields the events of the topics asked for, each once", "a topic may be any bytes",
	}, store: altersQueries(func(q *broker.Query) {
		if slices.Contains(q.Topics, "") {
			q.Topics = nil
		}
	})},
	{name: "topics are made valid UTF-8", breaks: []string{
		"a topic may be any bytes", "Follow keeps all fields, data and topics byte for byte",
	}, store: func(s *faulty) {
		valid := func(topics []string) (all []string) {
			for _, topic := range topics {
				all = append(all, strings.ToValidUTF8(topic, "\uFFFD"))
			}
			return all
		}
		s.append = func(ctx context.Context, ev sse.Event, topics []string) (string, error) {
			return s.Follower.Append(ctx, ev, valid(topics))
		}
		s.ranges = func(ctx context.Context, q broker.Query) iter.Seq2[sse.Event, error] {
			q.Topics = valid(q.Topics)
			return s.Follower.Range(ctx, q)
		}
	}},
	{name: "only some topics are looked for", breaks: []string{
		"Range takes many topics",
	}, store: altersQueries(func(q *broker.Query) { q.Topics = q.Topics[:min(len(q.Topics), 64)] })},
	{name: "the newest are taken before the topics are looked at", breaks: []string{
		"Newest asks for the newest events, oldest first", "a rare topic is found among many pages of others",
	}, store: func(s *faulty) {
		s.ranges = func(ctx context.Context, q broker.Query) iter.Seq2[sse.Event, error] {
			if q.Newest > 0 {
				q.Newest = max(q.Newest, 8)
			}
			return s.Follower.Range(ctx, q)
		}
	}},
	{name: "the oldest are taken for the newest", breaks: []string{
		"Newest asks for the newest events, oldest first",
		"the newest events are held, and only about as many as asked for",
	}, store: func(s *faulty) {
		s.ranges = func(ctx context.Context, q broker.Query) iter.Seq2[sse.Event, error] {
			n := q.Newest
			q.Newest = 0
			return kept(s.Follower.Range(ctx, q), func(i int, err error) bool { return n == 0 || i < n || err != nil })
		}
	}},
	{name: "Range heeds no break", breaks: []string{
		"a Range that is broken off yields nothing more",
	}, store: func(s *faulty) {
		s.ranges = func(ctx context.Context, q broker.Query) iter.Seq2[sse.Event, error] {
			return heedless(s.Follower.Range(ctx, q))
		}
	}},
	{name: "a lock is held while yielding", breaks: []string{
		"Append does not wait for one who ranges", "Append does not wait for one who follows",
		"a Range that eviction overtakes ends in a gap",
	}, store: func(s *faulty) {
		lock := make(chan struct{}, 1)
		s.append = func(ctx context.Context, ev sse.Event, topics []string) (string, error) {
			select {
			case lock <- struct{}{}:
			case <-ctx.Done():
				return "", ctx.Err()
			}
			defer func() { <-lock }()
			return s.Follower.Append(ctx, ev, topics)
		}
		s.ranges = func(ctx context.Context, q broker.Query) iter.Seq2[sse.Event, error] {
			return locked(lock, s.Follower.Range(ctx, q))
		}
		s.follow = func(ctx context.Context, after string) iter.Seq2[broker.Message, error] {
			return locked(lock, s.Follower.Follow(ctx, after))
		}
	}},
	{name: "an ended context ends Range in silence", breaks: []string{
		"Range of an ended context says so",
	}, store: selects(func(_ int, _ broker.Query, err error) bool { return !errors.Is(err, context.Canceled) })},
	{name: "Range goes on after its error", breaks: []string{
		"a cursor that was never given is a gap",
	}, store: func(s *faulty) {
		s.ranges = func(ctx context.Context, q broker.Query) iter.Seq2[sse.Event, error] {
			return func(yield func(sse.Event, error) bool) {
				for ev, err := range s.Follower.Range(ctx, q) {
					if !yield(ev, err) || err != nil && !yield(ev, err) {
						return
					}
				}
			}
		}
	}},

	{name: "a lost cursor starts over with the oldest", breaks: []string{
		"a cursor that was never given is a gap", "a cursor of another history is a gap",
		"after a restart that loses the history old cursors are gaps",
		"a cursor before evicted events is a gap", "a history of which nothing is left goes on",
		"a Range that eviction overtakes ends in a gap", "those who range while events come and go miss none unawares",
		"Follow from a cursor that was never given is a gap", "Follow from before evicted events is a gap",
		"a Follow that eviction overtakes ends in a gap",
	}, change: func(h *Harness) {
		*h = fault{store: func(s *faulty) {
			s.ranges = func(ctx context.Context, q broker.Query) iter.Seq2[sse.Event, error] {
				again := q
				again.After = ""
				return restarting(s.Follower.Range(ctx, q), s.Follower.Range(ctx, again))
			}
			s.follow = func(ctx context.Context, after string) iter.Seq2[broker.Message, error] {
				return restarting(s.Follower.Follow(ctx, after), s.Follower.Follow(ctx, ""))
			}
		}}.harness()
		h.Reopen = nil
	}},
	{name: "a gap ends Range in silence", breaks: []string{
		"a cursor before evicted events is a gap", "those who range while events come and go miss none unawares",
	}, store: selects(func(_ int, _ broker.Query, err error) bool { return !errors.Is(err, broker.ErrGap) })},
	{name: "a cursor of the future is known", breaks: []string{
		"a cursor that was never given is a gap",
	}, store: func(s *faulty) {
		s.ranges = func(ctx context.Context, q broker.Query) iter.Seq2[sse.Event, error] {
			if l := s.Follower.(*Log); l.number(q.After) > l.newestLocked() {
				return func(func(sse.Event, error) bool) {}
			}
			return s.Follower.Range(ctx, q)
		}
	}},
	{name: "a restart loses everything", breaks: []string{
		"after a restart the history goes on", "a retry is known after a restart",
		"Follow goes on where it was after a restart",
	}, change: func(h *Harness) {
		h.Reopen = func(*testing.T, broker.Store) broker.Store { return NewLog() }
	}},
	{name: "IDs are given again after a restart", breaks: []string{
		"after a restart that loses the history old cursors are gaps", "a cursor of another history is a gap",
		"Follow from a cursor that was never given is a gap",
	}, change: func(h *Harness) {
		h.Reopen = nil
		h.Open = func(*testing.T) broker.Store {
			l := NewLog()
			l.prefix = "same-"
			return l
		}
	}},
	{name: "nothing is evicted", breaks: []string{
		"the newest events are held, and only about as many as asked for",
	}, change: func(h *Harness) {
		h.Small = func(*testing.T, int) broker.Store { return NewLog() }
	}},

	{name: "IDs are compared as strings", breaks: []string{
		"Compare is the order of Range",
	}, store: func(s *faulty) { s.compare = strings.Compare }},
	{name: "Follow loses topics", breaks: []string{
		"Follow yields each event as it is appended, with its topics",
	}, store: changesMessages(func(m *broker.Message) { m.Topics = nil })},
	{name: "a wake-up is lost", breaks: []string{
		"Follow yields each event as it is appended, with its topics",
	}, store: func(s *faulty) {
		l := s.Follower.(*Log)
		s.append = func(ctx context.Context, ev sse.Event, topics []string) (string, error) {
			id, err := l.Append(ctx, ev, topics)
			if strings.HasSuffix(id, "-20") {
				l.own.Pause()
			}
			return id, err
		}
	}},
	{name: "Follow begins now, whatever the cursor", breaks: []string{
		"Follow from an ID yields what came after it and what comes", "Follow from nowhere begins with the oldest event",
		"between Range and Follow there is no hole",
	}, store: func(s *faulty) {
		s.follow = func(ctx context.Context, after string) iter.Seq2[broker.Message, error] {
			return func(yield func(broker.Message, error) bool) {
				now, _ := s.Follower.Last(ctx)
				s.Follower.Follow(ctx, now)(yield)
			}
		}
	}},
	{name: "Follow loses an event", breaks: []string{
		"all who follow see the one order", "between Range and Follow there is no hole",
		"Follow from an ID yields what came after it and what comes",
	}, store: trails(func(i int, err error) bool { return i != 2 || err != nil })},
	{name: "Follow heeds no break", breaks: []string{
		"a Follow that is broken off yields nothing more",
	}, store: func(s *faulty) {
		s.follow = func(ctx context.Context, after string) iter.Seq2[broker.Message, error] {
			return heedless(s.Follower.Follow(ctx, after))
		}
	}},
	{name: "an ended context ends Follow in silence", breaks: []string{
		"Follow ends with its context, and says so",
	}, store: trails(func(_ int, err error) bool { return !errors.Is(err, context.Canceled) })},
	{name: "a gap ends Follow in silence", breaks: []string{
		"Follow from a cursor that was never given is a gap", "a Follow that eviction overtakes ends in a gap",
	}, store: trails(func(_ int, err error) bool { return !errors.Is(err, broker.ErrGap) })},
}

// locked holds lock while seq yields.
func locked[E any](lock chan struct{}, seq iter.Seq2[E, error]) iter.Seq2[E, error] {
	return func(yield func(E, error) bool) {
		seq(func(e E, err error) bool {
			lock <- struct{}{}
			defer func() { <-lock }()
			return yield(e, err)
		})
	}
}
