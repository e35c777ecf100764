package storetest

import (
	"context"
	"errors"
	"fmt"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/sse"
)

// ranging are the rules of Range over a history that is all held.
var ranging = []rule{
	{"Range yields what comes after one ID, up to and with another", func(tr *trial) {
		s := tr.open()
		start := s.last()
		events := s.fill(0, 6, "a")
		cursors := append([]string{start}, ids(events)...)
		for i, after := range cursors {
			s.want(broker.Query{After: after}, events[i:])
			s.want(broker.Query{Through: after}, events[:i])
			for j, through := range cursors {
				s.want(broker.Query{After: after, Through: through}, events[i:max(i, j)])
			}
		}
	}},
	{"Range reads a history of many pages", func(tr *trial) {
		s := tr.open()
		page := tr.harness.PageSize
		events := s.fill(0, 3*page+1, "a")
		s.want(broker.Query{}, events)
		for _, n := range []int{1, page - 1, page, page + 1, 2 * page, 3 * page, 3*page + 1} {
			s.want(broker.Query{After: events[n-1].ID}, events[n:])
			s.want(broker.Query{Through: events[n-1].ID}, events[:n])
		}
	}},
	{"Range yields the events of the topics asked for, each once", func(tr *trial) {
		s := tr.open()
		var events []sse.Event
		published := [][]string{{"a"}, {"b"}, {"a", "b"}, {"c"}, {""}, {"c", "a"}, {"a", "a"}, {"", "b"}, {"c"}}
		for i, topics := range published {
			events = append(events, s.add(sse.Event{Data: fmt.Sprint(i)}, topics...))
		}
		of := func(places ...int) (want []sse.Event) {
			for _, i := range places {
				want = append(want, events[i])
			}
			return want
		}
		s.want(broker.Query{Topics: nil}, events)
		s.want(broker.Query{Topics: []string{"a"}}, of(0, 2, 5, 6))
		s.want(broker.Query{Topics: []string{"b"}}, of(1, 2, 7))
		s.want(broker.Query{Topics: []string{""}}, of(4, 7))
		s.want(broker.Query{Topics: []string{"d"}}, nil)
		s.want(broker.Query{Topics: []string{"b", "a", "b"}}, of(0, 1, 2, 5, 6, 7))
		s.want(broker.Query{Topics: []string{"d", "", "c"}}, of(3, 4, 5, 7, 8))
		s.want(broker.Query{Topics: []string{"a"}, After: events[0].ID}, of(2, 5, 6))
		s.want(broker.Query{Topics: []string{"a"}, After: events[1].ID, Through: events[5].ID}, of(2, 5))
		s.want(broker.Query{Topics: []string{"a"}, After: events[3].ID, Through: events[4].ID}, nil)
	}},
	{"a topic may be any bytes", func(tr *trial) {
		s := tr.open()
		var events []sse.Event
		for i, topic := range topicNames {
			events = append(events, s.add(sse.Event{Data: fmt.Sprint(i)}, topic))
		}
		all := s.add(sse.Event{Data: "all"}, topicNames...)
		for i, topic := range topicNames {
			s.want(broker.Query{Topics: []string{topic}}, []sse.Event{events[i], all})
		}
		s.want(broker.Query{Topics: topicNames}, append(events, all))
	}},
	{"Range takes many topics", func(tr *trial) {
		s := tr.open()
		var topics []string
		var events []sse.Event
		for i := range 100 {
			topics = append(topics, fmt.Sprint("topic ", i))
			events = append(events, s.add(sse.Event{Data: fmt.Sprint(i)}, topics[i]))
		}
		s.fill(100, 1, "other")
		s.want(broker.Query{Topics: topics}, events)
		s.want(broker.Query{Topics: topics[:50]}, events[:50])
	}},
	{"a rare topic is found among many pages of others", func(tr *trial) {
		s := tr.open()
		page := tr.harness.PageSize
		rare := s.fill(0, 1, "rare")
		s.fill(1, 2*page, "common")
		rare = join(rare, s.fill(2*page+1, 1, "common", "rare"))
		s.fill(2*page+2, page, "common")
		s.want(broker.Query{Topics: []string{"rare"}}, rare)
		s.want(broker.Query{Topics: []string{"rare"}, Newest: 1}, rare[1:])
		s.want(broker.Query{Topics: []string{"rare"}, Newest: 9}, rare)
	}},
	{"Newest asks for the newest events, oldest first", func(tr *trial) {
		s := tr.open()
		start := s.last()
		s.want(broker.Query{Newest: 3}, nil)
		page := tr.harness.PageSize
		events := s.fill(0, 2*page+5, "a")
		n := len(events)
		s.want(broker.Query{Newest: 1}, events[n-1:])
		s.want(broker.Query{Newest: 3}, events[n-3:])
		s.want(broker.Query{Newest: page + 1}, events[n-page-1:])
		s.want(broker.Query{Newest: n}, events)
		s.want(broker.Query{Newest: n + 1}, events)
		s.want(broker.Query{Newest: 3, Through: events[9].ID}, events[7:10])
		s.want(broker.Query{Newest: 3, After: events[n-3].ID}, events[n-2:])
		s.want(broker.Query{Newest: 3, After: start, Through: events[1].ID}, events[:2])
		s.want(broker.Query{Newest: 3, After: events[n-1].ID}, nil)

		b := s.fill(n, 2, "b")
		events = join(events, b, s.fill(n+2, 2, "a"))
		s.want(broker.Query{Newest: 3}, events[n+1:])
		s.want(broker.Query{Newest: 3, Topics: []string{"a"}}, join(events[n-1:n], events[n+2:]))
		s.want(broker.Query{Newest: 1, Topics: []string{"b"}}, b[1:])
		s.want(broker.Query{Newest: 3, Topics: []string{"b"}}, b)
	}},
	{"a Range that is broken off yields nothing more", func(tr *trial) {
		s := tr.open()
		events := s.fill(0, tr.harness.PageSize+1, "a")
		for _, n := range []int{1, 2, len(events)} {
			calls := 0
			s.Range(tr.ctx, broker.Query{})(func(sse.Event, error) bool {
				calls++
				return calls < n
			})
			if calls != n {
				tr.Fatalf("Range called yield %d times, want %d: it returned false then", calls, n)
			}
		}
		s.want(broker.Query{}, events)
	}},
	{"Append does not wait for one who ranges", func(tr *trial) {
		s := tr.open()
		events := s.fill(0, tr.harness.PageSize+1, "a")
		for range s.Range(tr.ctx, broker.Query{Through: events[0].ID}) {
			s.aside("Append", func() error { return s.flood(1, "a") })
		}
	}},
	{"Range of an ended context says so", func(tr *trial) {
		s := tr.open()
		events := s.fill(0, 3*tr.harness.PageSize, "a")
		ctx, cancel := context.WithCancel(tr.ctx)
		defer cancel()
		s = &subject{&trial{tr.reporter, tr.t, tr.harness, ctx}, s.Store}
		var got []sse.Event
		var failure error
		for ev, err := range s.Range(ctx, broker.Query{}) {
			cancel() // while it is read: what is left may come, or an error
			if failure = err; err == nil {
				got = append(got, ev)
			}
		}
		want := events
		if errors.Is(failure, context.Canceled) {
			want, failure = events[:min(len(got), len(events))], nil
		}
		if d := difference(got, want); d != "" || failure != nil {
			tr.Fatalf("Range whose context ended %s; its error is %v", d, failure)
		}
		failure = nil
		for _, failure = range s.Range(ctx, broker.Query{}) {
		}
		if !errors.Is(failure, context.Canceled) {
			tr.Fatalf("Range with an ended context ended with the error %v, want context.Canceled", failure)
		}
	}},
}
