package broker

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

// errEnded has the topics of a request asked for again, see End.
var errEnded = errors.New("broker: subscribers were ended meanwhile")

// ending says who closed a subscription.
type ending uint8

const (
	endClosed ending = iota // Subscription.Close, or its own end
	endClient
	endBroker
	endAge
	endAsked
)

func (e ending) String() string {
	switch e {
	case endClient:
		return "the client is gone"
	case endBroker:
		return "the broker is closed"
	case endAge:
		return "old enough"
	case endAsked:
		return "ended by the application"
	default:
		return "the broker shuts down"
	}
}

// End ends the subscribers for which match is true, in process and over HTTP,
// for instance those of a user who has logged out, and returns how many those
// were. What is queued for them is discarded. A loop over
// [Subscription.Events] ends with [ErrClosed]. A stream ends cleanly, after the
// write that is under way, if there is one; so its client, a browser's
// EventSource above all, comes back after its retry time: see to it that [Options.Topics]
// refuses it before you call End.
//
// Nobody slips through in between. A request for which Topics was called before
// End, and which is not a subscriber yet, has it called again, then as a subscriber,
// whom another End finds. That does not help who is let in by a handler around the
// Broker, before Topics.
//
// match is called in the goroutine of End and may call the Broker.
func (b *Broker) End(match func(Subscriber) bool) int {
	b.order.Lock()
	b.ends.Add(1)
	b.order.Unlock()
	n := 0
	for _, r := range b.report() {
		if match(r.Subscriber) && r.sub.close(endAsked) {
			n++
		}
	}
	return n
}

// retire ends the streams that are old enough, until ctx ends. It looks often,
// so that those which began together do not end together: what they do not have
// in common is only the random part of their age.
func (b *Broker) retire(ctx context.Context) {
	defer close(b.retireDone)
	d := b.opts.MaxAge
	if d <= 0 {
		return
	}
	ticker := time.NewTicker(max(min(d/20, time.Second), time.Millisecond))
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			b.retireOld()
		case <-ctx.Done():
			return
		}
	}
}

// retireOld lets others have the order lock now and then. A map may change while
// it is ranged over.
func (b *Broker) retireOld() {
	const few = 512
	b.order.Lock()
	defer b.order.Unlock()
	age, seen := b.age(), 0
	for s := range b.subs {
		if s.until > 0 && age >= s.until {
			s.closeLocked(endAge)
		}
		if seen++; seen%few == 0 {
			b.order.Unlock()
			b.order.Lock()
		}
	}
}

// lifetime returns until when a stream that begins now may last, counted from
// Broker.born; 0: for ever. With the time until retire looks, that is from 80 to
// 100 % of MaxAge.
func (b *Broker) lifetime() time.Duration {
	d := b.opts.MaxAge
	if d <= 0 {
		return 0
	}
	return b.age() + max(d/5*4, 1) + rand.N(max(d/20*3, 1))
}
