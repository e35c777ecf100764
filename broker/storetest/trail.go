package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/sse"
)

// A trail is one call of Follow, in a goroutine of its own, which waits for
// each message to be received.
type trail struct {
	*subject
	after    string
	stop     context.CancelFunc  // ends the context of Follow
	messages chan broker.Message // sent and closed by the goroutine
	err      error               // how Follow ended; set before messages is closed
}

var errNone = errors.New("no error, though Follow ends with one")

// follow calls Follow. The trail must be ended.
func (s *subject) follow(after string) *trail {
	f := s.follower()
	ctx, cancel := context.WithCancel(s.ctx)
	t := &trail{subject: s, after: after, stop: cancel, messages: make(chan broker.Message)}
	go func() {
		defer close(t.messages)
		for m, err := range f.Follow(ctx, after) {
			switch {
			case t.err != nil:
				t.err = fmt.Errorf("an element after the error %q", t.err)
				return
			case err != nil:
				t.err = err
				continue
			}
			select {
			case t.messages <- m:
			case <-ctx.Done(): // Follow is to notice that itself
			}
		}
	}()
	return t
}

// end stops Follow and waits until it has returned.
func (t *trail) end() {
	t.stop()
	for range t.messages {
	}
}

// receive returns the next message, or the error with which Follow ended.
func (t *trail) receive() (broker.Message, error) {
	m, ok := <-t.messages
	switch {
	case ok:
		return m, nil
	case t.err == nil:
		return m, errNone
	default:
		return m, t.err
	}
}

func (t *trail) next() broker.Message {
	t.Helper()
	m, err := t.receive()
	if err != nil {
		t.Fatalf("Follow(%.60q) ended with the error %q, want an event", t.after, err)
	}
	return m
}

func (t *trail) take(n int) []broker.Message {
	t.Helper()
	messages := make([]broker.Message, n)
	for i := range messages {
		messages[i] = t.next()
	}
	return messages
}

// want checks that m is ev, published on topics.
func (t *trail) want(m broker.Message, ev sse.Event, topics ...string) {
	t.Helper()
	if m.Event != ev || !slices.Equal(m.Topics, topics) {
		t.Fatalf("Follow(%.60q) yielded %s on %.60q, want %s on %.60q", t.after, brief(m.Event), m.Topics, brief(ev), topics)
	}
}

// wantEvents checks that these are the next events.
func (t *trail) wantEvents(events []sse.Event) {
	t.Helper()
	if d := difference(eventsOf(t.take(len(events))), events); d != "" {
		t.Fatalf("Follow(%.60q) %s", t.after, d)
	}
}

// wantErr checks that Follow yields nothing more but this error.
func (t *trail) wantErr(want error) {
	t.Helper()
	m, err := t.receive()
	t.end()
	if err == nil {
		t.Fatalf("Follow(%.60q) yielded %s, want the error %q", t.after, brief(m.Event), want)
	}
	if !errors.Is(err, want) {
		t.Fatalf("Follow(%.60q) ended with the error %q, want %q", t.after, err, want)
	}
}
