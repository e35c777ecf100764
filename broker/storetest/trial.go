package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/sse"
)

// A trial is the check of one rule.
type trial struct {
	reporter
	t       *testing.T // what the functions of the Harness get
	harness Harness
	ctx     context.Context // ends when the rule has taken too long
}

// A reporter is the part of [testing.T] that rules report to. The tests of this
// package give them another one, to watch them fail. Fatalf and Skipf end the
// goroutine, so only the one that runs the rule may call them.
type reporter interface {
	Helper()
	Fatalf(format string, args ...any)
	Skipf(format string, args ...any)
}

func newTrial(t *testing.T, r reporter, h Harness) *trial {
	if h.PageSize == 0 {
		h.PageSize = 256
	}
	if h.LargeData == 0 {
		h.LargeData = 1 << 20
	}
	if h.Timeout == 0 {
		h.Timeout = 30 * time.Second
	}
	ctx, cancel := context.WithTimeout(t.Context(), h.Timeout)
	t.Cleanup(cancel)
	return &trial{reporter: r, t: t, harness: h, ctx: ctx}
}

// A subject is a Store on trial.
type subject struct {
	*trial
	broker.Store
}

func (tr *trial) open() *subject { return &subject{tr, tr.harness.Open(tr.t)} }

// small returns a Store that holds so many events, and how many appended to it
// are certain to evict all that were there before.
func (tr *trial) small(maxEvents int) (s *subject, all int) {
	if tr.harness.Small == nil {
		tr.Skipf("storetest: Harness.Small is nil")
	}
	return &subject{tr, tr.harness.Small(tr.t, maxEvents)}, maxEvents + tr.harness.Slack
}

func (s *subject) follower() broker.Follower {
	f, ok := s.Store.(broker.Follower)
	if !ok {
		s.Skipf("storetest: %T is not a broker.Follower", s.Store)
	}
	return f
}

// add appends ev and returns it as Range is to yield it.
func (s *subject) add(ev sse.Event, topics ...string) sse.Event {
	s.Helper()
	id, err := s.Append(s.ctx, ev, topics)
	if err != nil {
		s.Fatalf("Append(%s) on %q failed: %v", brief(ev), topics, err)
	}
	if id == "" {
		s.Fatalf("Append(%s) gave no ID", brief(ev))
	}
	ev.ID = id
	return ev
}

// fill appends n events, with their numbers from `from` on as data.
func (s *subject) fill(from, n int, topics ...string) []sse.Event {
	s.Helper()
	events := make([]sse.Event, n)
	for i := range events {
		events[i] = s.add(sse.Event{Data: strconv.Itoa(from + i)}, topics...)
	}
	return events
}

// flood appends n events. It may be called from any goroutine.
func (s *subject) flood(n int, topics ...string) error {
	for range n {
		if _, err := s.Append(s.ctx, sse.Event{Data: "flood"}, topics); err != nil {
			return fmt.Errorf("Append failed: %w", err)
		}
	}
	return nil
}

// aside runs f in a goroutine and waits for it: the Store could be holding a
// lock for which f then waits for ever.
func (s *subject) aside(what string, f func() error) {
	s.Helper()
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		if err != nil {
			s.Fatalf("%v", err)
		}
	case <-s.ctx.Done():
		s.Fatalf("%s waits while another call has its caller in the loop", what)
	}
}

func (s *subject) last() string {
	s.Helper()
	id, err := s.Last(s.ctx)
	if err != nil {
		s.Fatalf("Last failed: %v", err)
	}
	return id
}

// read collects what Range yields.
func (s *subject) read(q broker.Query) ([]sse.Event, error) {
	var events []sse.Event
	var failure error
	for ev, err := range s.Range(s.ctx, q) {
		switch {
		case failure != nil:
			return events, fmt.Errorf("an element after the error %q", failure)
		case err != nil:
			failure = err
		case s.ctx.Err() != nil:
			return events, fmt.Errorf("%s too slow: %w", describe(q), s.ctx.Err())
		default:
			events = append(events, ev)
		}
	}
	return events, failure
}

// want checks that Range yields these events for q, and no error.
func (s *subject) want(q broker.Query, events []sse.Event) {
	s.Helper()
	got, err := s.read(q)
	if err != nil {
		s.Fatalf("Range(%s) yielded %d events and then the error %v, want %d events", describe(q), len(got), err, len(events))
	}
	if d := difference(got, events); d != "" {
		s.Fatalf("Range(%s) %s", describe(q), d)
	}
}

// wantGap checks that Range yields nothing but ErrGap for q.
func (s *subject) wantGap(q broker.Query) {
	s.Helper()
	if got, err := s.read(q); len(got) > 0 || !errors.Is(err, broker.ErrGap) {
		s.Fatalf("Range(%s) yielded %d events and then the error %v, want only ErrGap", describe(q), len(got), err)
	}
}

// wantAllOrGap checks that Range yields for q all of these events, or some of
// the first of them and ErrGap: no silent hole.
func (s *subject) wantAllOrGap(q broker.Query, events []sse.Event) {
	s.Helper()
	got, err := s.read(q)
	if errors.Is(err, broker.ErrGap) {
		events, err = events[:min(len(got), len(events))], nil
	}
	if err != nil {
		s.Fatalf("Range(%s) yielded %d events and then the error %v", describe(q), len(got), err)
	}
	if d := difference(got, events); d != "" {
		s.Fatalf("Range(%s) %s", describe(q), d)
	}
}

// difference says how got is not want, if it is not.
func difference(got, want []sse.Event) string {
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			return fmt.Sprintf("yielded as event %d of %d %s, want %s", i+1, len(want), brief(got[i]), brief(want[i]))
		}
	}
	switch {
	case len(got) > len(want):
		return fmt.Sprintf("yielded %d events, want %d; the first too many is %s", len(got), len(want), brief(got[len(want)]))
	case len(got) < len(want):
		return fmt.Sprintf("yielded %d events, want %d; the first missing is %s", len(got), len(want), brief(want[len(got)]))
	}
	return ""
}

func describe(q broker.Query) string {
	topics := fmt.Sprintf("%.60q", q.Topics)
	if len(q.Topics) > 5 {
		topics = fmt.Sprintf("%d topics", len(q.Topics))
	}
	return fmt.Sprintf("After: %.60q, Through: %.60q, Topics: %s, Newest: %d", q.After, q.Through, topics, q.Newest)
}

func brief(ev sse.Event) string {
	data := fmt.Sprintf("%.60q", ev.Data)
	if n := len(ev.Data); n > 60 {
		data += fmt.Sprintf("… (%d bytes)", n)
	}
	return fmt.Sprintf("{ID: %.60q, Type: %.60q, Data: %s, Retry: %v}", ev.ID, ev.Type, data, ev.Retry)
}

func ids(events []sse.Event) []string {
	all := make([]string, len(events))
	for i, ev := range events {
		all[i] = ev.ID
	}
	return all
}

// join returns one slice with the elements of all, which it leaves alone.
func join(all ...[]sse.Event) []sse.Event { return slices.Concat(all...) }
