package storetest

import (
	"errors"
	"slices"
	"strings"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/sse"
)

// resuming are the rules of cursors that come from elsewhere: from a client
// that makes them up, from another history, from before a restart.
var resuming = []rule{
	{"a cursor that was never given is a gap", func(tr *trial) {
		s := tr.open()
		start := s.last()
		for _, cursor := range strangers(start) {
			s.wantGap(broker.Query{After: cursor})
		}
		events := s.fill(0, 12, "a")
		given := append(ids(events), start)
		for _, cursor := range strangers(given...) {
			s.wantGap(broker.Query{After: cursor})
			s.wantGap(broker.Query{After: cursor, Through: events[5].ID, Topics: []string{"a"}})
		}
		s.wantGap(broker.Query{After: "garbage", Newest: 3})
		s.wantGap(broker.Query{After: "garbage", Topics: []string{"b"}})
		s.want(broker.Query{}, events)
	}},
	{"a cursor of another history is a gap", func(tr *trial) {
		s, other := tr.open(), tr.open()
		for _, n := range []int{0, 3, 10} { // fewer events than the other, and more
			s.fill(0, n, "a")
			foreign := append(ids(other.fill(0, 4, "a")), other.last())
			for _, cursor := range foreign {
				s.wantGap(broker.Query{After: cursor})
			}
		}
	}},
	{"after a restart the history goes on", func(tr *trial) {
		if tr.harness.Reopen == nil {
			tr.Skipf("storetest: Harness.Reopen is nil")
		}
		s := tr.open()
		start := s.last()
		s = s.reopen()
		if last := s.last(); last != start {
			tr.Fatalf("Last of an empty Store is %q, and %q after a restart", start, last)
		}
		var events []sse.Event
		for n := range 3 {
			events = join(events, s.fill(2*n, 2, "a", "b"))
			s = s.reopen()
			if last := s.last(); last != events[2*n+1].ID {
				tr.Fatalf("Last is %q after a restart, want %q", last, events[2*n+1].ID)
			}
			s.want(broker.Query{}, events)
			s.want(broker.Query{Topics: []string{"b"}, Newest: 2}, events[2*n:])
			for i, cursor := range append([]string{start}, ids(events)...) {
				s.want(broker.Query{After: cursor}, events[i:])
			}
		}
		if all := ids(events); len(slices.Compact(slices.Sorted(slices.Values(all)))) != len(all) {
			tr.Fatalf("an ID was given again after a restart: %q", all)
		}
		s.wantGap(broker.Query{After: "garbage"})
	}},
	{"after a restart that loses the history old cursors are gaps", func(tr *trial) {
		if tr.harness.Reopen != nil {
			tr.Skipf("storetest: Harness.Reopen is not nil")
		}
		before := tr.open()
		old := append([]string{before.last()}, ids(before.fill(0, 5, "a"))...)
		after := tr.open()
		if start := after.last(); slices.Contains(old, start) {
			tr.Fatalf("the ID %q was given again after a restart", start)
		}
		for _, ev := range after.fill(0, 5, "a") {
			if slices.Contains(old, ev.ID) {
				tr.Fatalf("the ID %q was given again after a restart", ev.ID)
			}
		}
		for _, cursor := range old {
			after.wantGap(broker.Query{After: cursor})
		}
	}},
	{"a retry is known after a restart", func(tr *trial) {
		if tr.harness.Reopen == nil {
			tr.Skipf("storetest: Harness.Reopen is nil")
		}
		s := tr.open()
		ev := s.add(sse.Event{ID: "order-7", Data: "7"}, "a")
		s = s.reopen()
		id, err := s.Append(s.ctx, sse.Event{ID: "order-7", Data: "7"}, []string{"a"})
		if id != ev.ID || !errors.Is(err, broker.ErrDuplicate) {
			tr.Fatalf("Append of an event stored before a restart gave the ID %q and %v, want %q and ErrDuplicate", id, err, ev.ID)
		}
		s.want(broker.Query{}, []sse.Event{ev})
	}},
}

// strangers returns cursors that are none of these IDs: some look like them,
// some mean something to an engine, some are noise.
func strangers(given ...string) []string {
	cursors := []string{
		"0", "1", "-1", "0-0", "0-1", "1-1", "9223372036854775807", "18446744073709551615", "18446744073709551616",
		"99999999999999-0", "-", "+", "$", ">", "*", "(0", "latest", "null", "NaN", "0x1", "1e3", " ", "\t", "\n", "\x00", "\xff\xfe",
		"世界", "' OR 1=1 --", "../..", "%s", "{}", strings.Repeat("9", 10_000), strings.Repeat("\x00", 10_000), strings.Repeat("a", 1<<20),
	}
	for _, id := range given {
		cursors = append(cursors,
			id+"0", id+"x", id+" ", id+"\x00", " "+id, "x"+id, id[:len(id)-1], id+id, id+"-"+id, strings.Repeat(id, 1000))
	}
	return slices.DeleteFunc(cursors, func(cursor string) bool { return cursor == "" || slices.Contains(given, cursor) })
}

// reopen returns the Store after a restart.
func (s *subject) reopen() *subject { return &subject{s.trial, s.harness.Reopen(s.t, s.Store)} }
