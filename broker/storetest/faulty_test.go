package storetest

import (
	"context"
	"errors"
	"iter"
	"slices"
	"testing"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/sse"
)

// A fault is a mistake that a Store could make, and rules that must find it.
type fault struct {
	name   string
	store  func(*faulty)  // puts the mistake into a Store that has none, or:
	change func(*Harness) // puts it into the Harness
	breaks []string       // names of rules
}

func (f fault) in(name string) bool { return slices.Contains(f.breaks, name) }

func (f fault) harness() Harness {
	h := logs()
	if f.change != nil {
		f.change(&h)
		return h
	}
	wrap := func(l broker.Store) broker.Store {
		s := &faulty{Follower: l.(broker.Follower)}
		f.store(s)
		return s
	}
	open, small := h.Open, h.Small
	h.Open = func(t *testing.T) broker.Store { return wrap(open(t)) }
	h.Small = func(t *testing.T, maxEvents int) broker.Store { return wrap(small(t, maxEvents)) }
	return h
}

// faulty is a Follower some of whose methods are replaced.
type faulty struct {
	broker.Follower
	append  func(ctx context.Context, ev sse.Event, topics []string) (string, error)
	last    func(ctx context.Context) (string, error)
	ranges  func(ctx context.Context, q broker.Query) iter.Seq2[sse.Event, error]
	follow  func(ctx context.Context, after string) iter.Seq2[broker.Message, error]
	compare func(a, b string) int
}

func (s *faulty) Append(ctx context.Context, ev sse.Event, topics []string) (string, error) {
	if s.append != nil {
		return s.append(ctx, ev, topics)
	}
	return s.Follower.Append(ctx, ev, topics)
}

func (s *faulty) Last(ctx context.Context) (string, error) {
	if s.last != nil {
		return s.last(ctx)
	}
	return s.Follower.Last(ctx)
}

func (s *faulty) Range(ctx context.Context, q broker.Query) iter.Seq2[sse.Event, error] {
	if s.ranges != nil {
		return s.ranges(ctx, q)
	}
	return s.Follower.Range(ctx, q)
}

func (s *faulty) Follow(ctx context.Context, after string) iter.Seq2[broker.Message, error] {
	if s.follow != nil {
		return s.follow(ctx, after)
	}
	return s.Follower.Follow(ctx, after)
}

func (s *faulty) Compare(a, b string) int {
	if s.compare != nil {
		return s.compare(a, b)
	}
	return s.Follower.Compare(a, b)
}

// altersEvents makes s change events before they are stored.
func altersEvents(change func(*sse.Event)) func(*faulty) {
	return func(s *faulty) {
		s.append = func(ctx context.Context, ev sse.Event, topics []string) (string, error) {
			change(&ev)
			return s.Follower.Append(ctx, ev, topics)
		}
	}
}

// altersQueries makes s answer another query.
func altersQueries(change func(*broker.Query)) func(*faulty) {
	return func(s *faulty) {
		s.ranges = func(ctx context.Context, q broker.Query) iter.Seq2[sse.Event, error] {
			change(&q)
			return s.Follower.Range(ctx, q)
		}
	}
}

// selects makes Range yield only the elements that keep returns true for;
// i counts them.
func selects(keep func(i int, q broker.Query, err error) bool) func(*faulty) {
	return func(s *faulty) {
		s.ranges = func(ctx context.Context, q broker.Query) iter.Seq2[sse.Event, error] {
			return kept(s.Follower.Range(ctx, q), func(i int, err error) bool { return keep(i, q, err) })
		}
	}
}

// trails makes Follow yield only the elements that keep returns true for.
func trails(keep func(i int, err error) bool) func(*faulty) {
	return func(s *faulty) {
		s.follow = func(ctx context.Context, after string) iter.Seq2[broker.Message, error] {
			return kept(s.Follower.Follow(ctx, after), keep)
		}
	}
}

func kept[E any](seq iter.Seq2[E, error], keep func(i int, err error) bool) iter.Seq2[E, error] {
	return func(yield func(E, error) bool) {
		i := 0
		for e, err := range seq {
			if keep(i, err) && !yield(e, err) {
				return
			}
			i++
		}
	}
}

// changesMessages makes Follow yield something else.
func changesMessages(change func(*broker.Message)) func(*faulty) {
	return func(s *faulty) {
		s.follow = func(ctx context.Context, after string) iter.Seq2[broker.Message, error] {
			return func(yield func(broker.Message, error) bool) {
				for m, err := range s.Follower.Follow(ctx, after) {
					if change(&m); !yield(m, err) {
						return
					}
				}
			}
		}
	}
}

// heedless yields on when yield has returned false.
func heedless[E any](seq iter.Seq2[E, error]) iter.Seq2[E, error] {
	return func(yield func(E, error) bool) {
		n := 0
		seq(func(e E, err error) bool {
			yield(e, err)
			n++
			return n < 5
		})
	}
}

// restarting starts over with the oldest event where there is a gap.
func restarting[E any](first, again iter.Seq2[E, error]) iter.Seq2[E, error] {
	return func(yield func(E, error) bool) {
		for e, err := range first {
			if errors.Is(err, broker.ErrGap) {
				again(yield)
				return
			}
			if !yield(e, err) {
				return
			}
		}
	}
}
