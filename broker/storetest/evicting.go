package storetest

import (
	"errors"
	"fmt"
	"strconv"
	"sync"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/sse"
)

// evicting are the rules of a history whose oldest events have gone.
var evicting = []rule{
	{"the newest events are held, and only about as many as asked for", func(tr *trial) {
		const n = 10
		s, all := tr.small(n)
		events := s.fill(0, 3*all, "a")
		held, err := s.read(broker.Query{})
		if err != nil {
			tr.Fatalf("Range failed: %v", err)
		}
		if len(held) < n || len(held) > all {
			tr.Fatalf("%d events are held, want from %d to %d", len(held), n, all)
		}
		if d := difference(held, events[len(events)-len(held):]); d != "" {
			tr.Fatalf("Range of the oldest %s", d)
		}
		s.want(broker.Query{Newest: n - 1}, events[len(events)-n+1:])
		if last := s.last(); last != events[len(events)-1].ID {
			tr.Fatalf("Last is %q, want the newest event's %q", last, events[len(events)-1].ID)
		}
	}},
	{"a cursor before evicted events is a gap", func(tr *trial) {
		const n = 10
		s, all := tr.small(n)
		start := s.last()
		events := s.fill(0, 3*all, "a")
		cursors := append([]string{start}, ids(events)...)
		last := events[len(events)-1].ID
		for i, cursor := range cursors {
			switch {
			case i > len(events)-n: // its event is held
				s.want(broker.Query{After: cursor}, events[i:])
				s.want(broker.Query{After: cursor, Newest: 2}, events[max(i, len(events)-2):])
			case i < len(events)-all: // the event after it is not
				s.wantGap(broker.Query{After: cursor})
				s.wantGap(broker.Query{After: cursor, Through: last, Topics: []string{"a"}})
			default:
				s.wantAllOrGap(broker.Query{After: cursor}, events[i:])
			}
		}
	}},
	{"an evicted event is not yielded, whatever Through is", func(tr *trial) {
		const n = 10
		s, all := tr.small(n)
		start := s.last()
		events := s.fill(0, 3*all, "a")
		held := events[len(events)-n:]
		for _, through := range []string{start, events[0].ID, events[all].ID} {
			s.want(broker.Query{Through: through}, nil)
			s.want(broker.Query{After: held[0].ID, Through: through}, nil)
			s.wantAllOrGap(broker.Query{After: through, Through: through}, nil)
		}
	}},
	{"a history of which nothing is left goes on", func(tr *trial) {
		const n = 1 // so that any event evicts all before it
		s, all := tr.small(n)
		old := s.fill(0, all, "a")
		events := s.fill(all, 2*all, "b")
		newest := events[len(events)-1]
		s.want(broker.Query{Topics: []string{"a"}}, nil)
		s.want(broker.Query{After: newest.ID}, nil)
		s.wantGap(broker.Query{After: old[0].ID})
		s.wantAllOrGap(broker.Query{After: newest.ID}, s.fill(3*all, 1, "b")) // newest has gone: see [broker.Store]
	}},
	{"a Range that eviction overtakes ends in a gap", func(tr *trial) {
		page := tr.harness.PageSize
		for _, q := range []broker.Query{{}, {Topics: []string{"a"}}, {Newest: 3 * page}} {
			s, all := tr.small(4 * page)
			want := s.fill(0, 4*page, "a")
			q.After, q.Through = want[0].ID, want[len(want)-1].ID
			want = want[1:]
			if q.Newest > 0 {
				want = want[len(want)-q.Newest:]
			}
			var got []sse.Event
			var failure error
			for ev, err := range s.Range(tr.ctx, q) {
				if failure = err; err != nil {
					continue
				}
				if got = append(got, ev); len(got) == 1 {
					s.aside("Append", func() error { return s.flood(2*all, "b") })
				}
			}
			if errors.Is(failure, broker.ErrGap) {
				want, failure = want[:min(len(got), len(want))], nil
			}
			if d := difference(got, want); d != "" || failure != nil {
				tr.Fatalf("Range(%s) while its events are evicted %s; its error is %v", describe(q), d, failure)
			}
		}
	}},
	{"those who range while events come and go miss none unawares", func(tr *trial) {
		const readers, reads = 4, 40
		n := 2 * tr.harness.PageSize
		s, all := tr.small(n)
		var mu sync.Mutex
		appended := s.fill(0, 2*all, "a") // with their places in it as data; guarded by mu
		errs := make([]error, readers)
		done := make(chan struct{})
		go func() {
			defer close(done)
			together(readers, func(i int) {
				for read := 0; read < reads && errs[i] == nil; read++ {
					mu.Lock()
					known := appended
					mu.Unlock()
					// From the newest event to well before the oldest held.
					back := (read*readers + i) * (all + n/4) / (reads * readers)
					errs[i] = s.missesNone(known, len(known)-1-back)
				}
			})
		}()
		for {
			select {
			case <-done:
				if err := errors.Join(errs...); err != nil {
					tr.Fatalf("%v", err)
				}
				return
			default:
				ev := s.fill(len(appended), 1, "a")[0]
				mu.Lock()
				appended = append(appended, ev)
				mu.Unlock()
			}
		}
	}},
}

// missesNone ranges after the event at a place among those known to be
// appended by then. More may come meanwhile, and any may go.
func (s *subject) missesNone(known []sse.Event, place int) error {
	got, err := s.read(broker.Query{After: known[place].ID})
	gap := errors.Is(err, broker.ErrGap)
	if err != nil && !gap {
		return err
	}
	for i, ev := range got {
		if want := strconv.Itoa(place + 1 + i); ev.Data != want {
			return fmt.Errorf("Range yielded event %s where event %s was next, and no ErrGap before", ev.Data, want)
		}
	}
	if end := place + len(got); !gap && end < len(known)-1 {
		return fmt.Errorf("Range ended with event %d when event %d had been appended, and no ErrGap", end, len(known)-1)
	}
	return nil
}
