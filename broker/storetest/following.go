package storetest

import (
	"context"
	"errors"
	"fmt"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/sse"
)

// following are the rules of a Follower.
var following = []rule{
	{"Compare is the order of Range", func(tr *trial) {
		s := tr.open()
		f := s.follower()
		order := append([]string{s.last()}, ids(s.fill(0, 120, "a"))...)
		for i, a := range order {
			for j, b := range order {
				if c := f.Compare(a, b); c < 0 != (i < j) || c > 0 != (i > j) {
					tr.Fatalf("Compare(%q, %q) is %d, and they are at places %d and %d of the order", a, b, c, i, j)
				}
			}
		}
	}},
	{"Follow yields each event as it is appended, with its topics", func(tr *trial) {
		s := tr.open()
		fresh := s.follow(s.last())
		defer fresh.end()
		s.fill(0, 3, "before")
		for _, m := range fresh.take(3) {
			fresh.want(m, m.Event, "before")
		}
		now := s.follow(s.last())
		defer now.end()
		for i := range 50 {
			topics := []string{fmt.Sprint("topic ", i%7), "all"}
			ev := s.fill(i, 1, topics...)[0]
			now.want(now.next(), ev, topics...)
			fresh.want(fresh.next(), ev, topics...)
		}
	}},
	{"Follow from an ID yields what came after it and what comes", func(tr *trial) {
		s := tr.open()
		start := s.last()
		events := s.fill(0, 2*tr.harness.PageSize+1, "a")
		n := len(events)
		for _, i := range []int{0, 1, n - 2, n - 1, n} {
			after := append([]string{start}, ids(events)...)[i]
			t := s.follow(after)
			t.wantEvents(events[i:])
			events = join(events, s.fill(len(events), 2, "a"))
			t.wantEvents(events[len(events)-2:])
			t.end()
		}
	}},
	{"Follow from nowhere begins with the oldest event", func(tr *trial) {
		s := tr.open()
		empty := s.follow("")
		defer empty.end()
		events := s.fill(0, 5, "a")
		filled := s.follow("")
		defer filled.end()
		empty.wantEvents(events)
		filled.wantEvents(events)
	}},
	{"Follow keeps all fields, data and topics byte for byte", func(tr *trial) {
		s := tr.open()
		t := s.follow(s.last())
		defer t.end()
		for i, topic := range topicNames {
			ev := s.add(sse.Event{Type: "type", Data: texts[i%len(texts)], Retry: 1e9}, topic, "a", topic)
			t.want(t.next(), ev, topic, "a", topic)
		}
	}},
	{"an ID given twice is followed once", func(tr *trial) {
		s := tr.open()
		t := s.follow(s.last())
		defer t.end()
		for i, given := range givenIDs {
			ev := s.add(sse.Event{ID: given, Data: "first"}, "a")
			if id, err := s.Append(tr.ctx, sse.Event{ID: given, Data: "again"}, []string{"a"}); !errors.Is(err, broker.ErrDuplicate) {
				tr.Fatalf("Append of an ID that was stored returned %q and %v, want ErrDuplicate", id, err)
			}
			t.wantEvents(append([]sse.Event{ev}, s.fill(i, 1, "a")...))
		}
	}},
	{"between Range and Follow there is no hole", func(tr *trial) {
		s := tr.open()
		s.follower()
		const rounds, each, publishers, every = 20, 3, 4, 100
		appended := make(chan error, 1)
		go func() {
			errs := make([]error, publishers)
			together(publishers, func(i int) { errs[i] = s.flood(every, "a") })
			appended <- errors.Join(errs...)
		}()
		var seen [][]sse.Event
		for i := range rounds {
			last := s.last()
			s.fill(i, each, "b")
			events, err := s.read(broker.Query{Through: last})
			if err != nil {
				tr.Fatalf("Range failed: %v", err)
			}
			t := s.follow(last)
			seen = append(seen, join(events, eventsOf(t.take(each))))
			t.end()
		}
		if err := <-appended; err != nil {
			tr.Fatalf("%v", err)
		}
		all, err := s.read(broker.Query{})
		if want := rounds*each + publishers*every; err != nil || len(all) != want {
			tr.Fatalf("Range yielded %d events and the error %v, want %d events", len(all), err, want)
		}
		for _, events := range seen {
			if d := difference(events, all[:len(events)]); d != "" {
				tr.Fatalf("Range through Last and Follow after it, together, %s", d)
			}
		}
	}},
	{"all who follow see the one order", func(tr *trial) {
		s := tr.open()
		const publishers, each = 4, 50
		trails := []*trail{s.follow(s.last()), s.follow(""), s.follow(s.last())}
		errs := make([]error, publishers)
		appended := make(chan struct{})
		go func() {
			together(publishers, func(i int) { errs[i] = s.flood(each, "a") })
			close(appended)
		}()
		var seen [][]broker.Message
		for _, t := range trails {
			defer t.end()
			seen = append(seen, t.take(publishers*each))
		}
		<-appended
		if err := errors.Join(errs...); err != nil {
			tr.Fatalf("%v", err)
		}
		for _, messages := range seen {
			s.want(broker.Query{}, eventsOf(messages))
		}
	}},
	{"Follow from a cursor that was never given is a gap", func(tr *trial) {
		s, other := tr.open(), tr.open()
		s.follower()
		start := s.last()
		s.follow("garbage").wantErr(broker.ErrGap)
		given := append(ids(s.fill(0, 12, "a")), start)
		foreign := append(ids(other.fill(0, 3, "a")), other.last())
		for _, cursor := range append(foreign, strangers(given...)...) {
			s.follow(cursor).wantErr(broker.ErrGap)
		}
	}},
	{"Follow from before evicted events is a gap", func(tr *trial) {
		const n = 10
		s, all := tr.small(n)
		s.follower()
		start := s.last()
		events := s.fill(0, 3*all, "a")
		for _, cursor := range append(ids(events[:len(events)-all-1]), start) {
			s.follow(cursor).wantErr(broker.ErrGap)
		}
		for i := len(events) - n; i < len(events); i++ {
			t := s.follow(events[i].ID)
			t.wantEvents(events[i+1:])
			t.end()
		}
	}},
	{"a Follow that eviction overtakes ends in a gap", func(tr *trial) {
		s, all := tr.small(2 * tr.harness.PageSize)
		t := s.follow(s.last())
		defer t.end()
		events := s.fill(0, 3, "a")
		t.wantEvents(events[:1])
		events = join(events, s.fill(3, 3*all, "a"))
		for place := 1; place < len(events); place++ {
			m, err := t.receive()
			if errors.Is(err, broker.ErrGap) {
				return
			}
			if err != nil {
				tr.Fatalf("Follow failed: %v", err)
			}
			if m.Event != events[place] {
				tr.Fatalf("Follow yielded %s where %s was next, and no ErrGap before", brief(m.Event), brief(events[place]))
			}
		}
		t.wantEvents(s.fill(len(events), 1, "a"))
	}},
	{"Append does not wait for one who follows", func(tr *trial) {
		s := tr.open()
		f := s.follower()
		s.fill(0, 2, "a")
		for range f.Follow(tr.ctx, "") {
			s.aside("Append", func() error { return s.flood(1, "a") })
			break
		}
	}},
	{"a Follow that is broken off yields nothing more", func(tr *trial) {
		s := tr.open()
		f := s.follower()
		s.fill(0, 5, "a")
		for _, n := range []int{1, 3} {
			calls := 0
			f.Follow(tr.ctx, "")(func(broker.Message, error) bool {
				calls++
				return calls < n
			})
			if calls != n {
				tr.Fatalf("Follow called yield %d times, want %d: it returned false then", calls, n)
			}
		}
	}},
	{"Follow ends with its context, and says so", func(tr *trial) {
		s := tr.open()
		f := s.follower()
		events := s.fill(0, 5, "a")
		t := s.follow(events[2].ID)
		t.wantEvents(events[3:])
		t.stop()
		t.wantErr(context.Canceled)

		ended, cancel := context.WithCancel(tr.ctx)
		cancel()
		var failure error
		for _, failure = range f.Follow(ended, events[4].ID) {
		}
		if !errors.Is(failure, context.Canceled) {
			tr.Fatalf("Follow with an ended context ended with the error %v, want context.Canceled", failure)
		}
	}},
	{"Follow goes on where it was after a restart", func(tr *trial) {
		if tr.harness.Reopen == nil {
			tr.Skipf("storetest: Harness.Reopen is nil")
		}
		s := tr.open()
		s.follower()
		start := s.last()
		events := s.fill(0, 5, "a")
		s = s.reopen()
		for i, cursor := range append([]string{start}, ids(events)...) {
			t := s.follow(cursor)
			events = join(events, s.fill(len(events), 1, "a"))
			t.wantEvents(events[i:])
			t.end()
		}
		for i, ev := range events[1:] {
			if c := s.follower().Compare(events[i].ID, ev.ID); c >= 0 {
				tr.Fatalf("Compare(%q, %q) is %d after a restart, and the second came later", events[i].ID, ev.ID, c)
			}
		}
	}},
}

func eventsOf(messages []broker.Message) []sse.Event {
	events := make([]sse.Event, len(messages))
	for i, m := range messages {
		events[i] = m.Event
	}
	return events
}
