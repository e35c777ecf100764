package storetest

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/sse"
)

// storing are the rules of what Append does with an event.
var storing = []rule{
	{"Append gives each event an ID of its own", func(tr *trial) {
		s := tr.open()
		seen := map[string]bool{s.last(): true}
		for _, id := range ids(s.fill(0, 100, "a")) {
			if seen[id] {
				tr.Fatalf("the ID %q was given twice", id)
			}
			seen[id] = true
		}
	}},
	{"Last is the ID of the newest event", func(tr *trial) {
		s := tr.open()
		for i := range 20 {
			if ev, last := s.fill(i, 1, "a")[0], s.last(); last != ev.ID {
				tr.Fatalf("Last is %q after an event that got the ID %q", last, ev.ID)
			}
		}
	}},
	{"Last of an empty Store comes before all to come", func(tr *trial) {
		s := tr.open()
		start := s.last()
		if start == "" {
			tr.Fatalf("Last gave no ID")
		}
		if again := s.last(); again != start {
			tr.Fatalf("Last is %q and then %q, with no event between", start, again)
		}
		s.want(broker.Query{}, nil)
		s.want(broker.Query{After: start}, nil)
		s.want(broker.Query{After: start, Through: start}, nil)
		events := s.fill(0, 3, "a")
		s.want(broker.Query{After: start}, events)
		s.want(broker.Query{After: start, Through: events[1].ID}, events[:2])
		s.want(broker.Query{Through: start}, nil)
	}},
	{"all fields of an event are kept", func(tr *trial) {
		s := tr.open()
		s.want(broker.Query{}, []sse.Event{
			s.add(sse.Event{}, "a"),
			s.add(sse.Event{Data: "data"}, "a"),
			s.add(sse.Event{Type: "type"}, "a"),
			s.add(sse.Event{Retry: 1500 * time.Millisecond}, "a"),
			s.add(sse.Event{Type: "type", Data: "data", Retry: time.Hour}, "a"),
			s.add(sse.Event{ID: "id", Type: "type", Data: "data", Retry: time.Millisecond}, "a"),
		})
	}},
	{"data and types are kept byte for byte", func(tr *trial) {
		s := tr.open()
		var events []sse.Event
		for _, text := range texts {
			events = append(events, s.add(sse.Event{Data: text}, "a"))
			if !strings.ContainsAny(text, "\r\n") {
				events = append(events, s.add(sse.Event{Type: text, Data: "a"}, "a"))
			}
		}
		s.want(broker.Query{}, events)
	}},
	{"a large event is kept", func(tr *trial) {
		s := tr.open()
		large := strings.Repeat("0123456789abcde\n", tr.harness.LargeData/16+1)[:tr.harness.LargeData]
		events := join(s.fill(0, 1, "a"), []sse.Event{s.add(sse.Event{Data: large}, "a")}, s.fill(1, 1, "a"))
		s.want(broker.Query{}, events)
		s.want(broker.Query{After: events[0].ID}, events[1:])
	}},
	{"Append keeps no slice of its caller", func(tr *trial) {
		s := tr.open()
		topics := []string{"a", "b"}
		ev := s.add(sse.Event{Data: "1"}, topics...)
		topics[0], topics[1] = "x", "y"
		s.want(broker.Query{Topics: []string{"b"}}, []sse.Event{ev})
		s.want(broker.Query{Topics: []string{"x", "y"}}, nil)
	}},
	{"an ID given by the publisher is stored once", func(tr *trial) {
		s := tr.open()
		var events []sse.Event
		for i, given := range givenIDs {
			ev := s.add(sse.Event{ID: given, Data: "first"}, "a")
			events = join(events, []sse.Event{ev}, s.fill(i, 1, "a"))
			last := s.last()
			for _, data := range []string{"first", "changed"} {
				id, err := s.Append(s.ctx, sse.Event{ID: given, Data: data}, []string{"a"})
				if id != ev.ID || !errors.Is(err, broker.ErrDuplicate) {
					tr.Fatalf("Append of the ID %.60q that is stored as %.60q returned %.60q and the error %v, want that ID and ErrDuplicate",
						given, ev.ID, id, err)
				}
			}
			if now := s.last(); now != last {
				tr.Fatalf("Last moved from %q to %q with a duplicate", last, now)
			}
		}
		s.want(broker.Query{}, events)
		for i, ev := range events {
			s.want(broker.Query{After: ev.ID}, events[i+1:])
		}
	}},
	{"of one ID given at once from many goroutines one is stored", func(tr *trial) {
		s := tr.open()
		const publishers = 8
		gave, errs := make([]string, publishers), make([]error, publishers)
		together(publishers, func(i int) {
			gave[i], errs[i] = s.Append(s.ctx, sse.Event{ID: "one", Data: "1"}, []string{"a"})
		})
		stored := 0
		for i, err := range errs {
			if err == nil {
				stored++
			}
			if gave[i] != gave[0] || err != nil && !errors.Is(err, broker.ErrDuplicate) {
				tr.Fatalf("Append of one ID from %d goroutines gave %q and %v", publishers, gave, errs)
			}
		}
		if stored != 1 {
			tr.Fatalf("%d Appends of one ID returned no error, want 1", stored)
		}
		s.want(broker.Query{}, []sse.Event{{ID: gave[0], Data: "1"}})
	}},
	{"events appended at once are all stored, in one order", func(tr *trial) {
		s := tr.open()
		const publishers, each = 8, 50
		published := make([][]sse.Event, publishers)
		errs := make([]error, publishers)
		together(publishers, func(i int) {
			for n := range each {
				ev := sse.Event{Data: fmt.Sprint(i, n)}
				if ev.ID, errs[i] = s.Append(s.ctx, ev, []string{"a"}); errs[i] != nil {
					return
				}
				published[i] = append(published[i], ev)
			}
		})
		if err := errors.Join(errs...); err != nil {
			tr.Fatalf("Append failed: %v", err)
		}
		all, err := s.read(broker.Query{})
		if err != nil {
			tr.Fatalf("Range failed: %v", err)
		}
		place := make(map[sse.Event]int)
		for i, ev := range all {
			place[ev] = i + 1
		}
		if len(all) != publishers*each || len(place) != len(all) {
			tr.Fatalf("Range yielded %d events, %d of them different, want %d", len(all), len(place), publishers*each)
		}
		for _, events := range published {
			for i, ev := range events {
				if place[ev] == 0 || i > 0 && place[ev] < place[events[i-1]] {
					tr.Fatalf("%s is at place %d of the order, the one appended before it by the same goroutine at %d",
						brief(ev), place[ev], place[events[max(i-1, 0)]])
				}
			}
		}
		for i := 0; i < len(all); i += 37 {
			s.want(broker.Query{After: all[i].ID}, all[i+1:])
		}
	}},
}

// texts are strings that formats and protocols like to damage.
var texts = []string{
	"\n", "\r", "\r\n", "\n\n", "one\ntwo\r\nthree\rfour", "\ntext\n", " ", " text ", "\t",
	"\x00", "a\x00b", "\x01\x1b\x7f", "\u2028\u2029", "\ufeff", "héllo 世界 🎺", "\u0301", "�",
	`"quoted" \n \u0000`, "{}", "null", "0", "-", "+", "*", ">", "$", "%00%s%d", "<a>&amp;", "id: 1", "data: x\n\ndata: y",
}

// topicNames are topics that a subject, a key or a pattern could mistake.
var topicNames = []string{
	"", " ", "a", "A", "a.b", "a.*", "a.>", "*", ">", ".", "..", "a..b", "a/b", "a b", "$SYS", "_", "%", "%61", "=61", "a\n", "a\x00",
	"\x00", "\xff", "\xff\xfe", "\n", "\r\n", "世界", "é", "e\u0301", strings.Repeat("long", 40), strings.Repeat("long", 40) + "er",
}

// givenIDs are IDs that a publisher may give: [broker.Broker] lets no other
// through.
var givenIDs = []string{
	"order-7", "7", "0", "-1", "1-1", "a b", "*", ">", "$", "+", "a.b", "a:b", `"`, "{}", "null", "世界", "\xff", strings.Repeat("long", 40),
}

// together calls f from n goroutines, with the numbers from 0 on, and waits for
// them.
func together(n int, f func(i int)) {
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { f(i) })
	}
	wg.Wait()
}
