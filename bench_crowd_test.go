package fanfare_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/sse"
)

// A crowd is the subscriptions of a Broker, each with a goroutine that checks
// and counts its events. They come in rounds: the same events each time, all to
// all members of some topics. Its methods are for the benchmark's goroutine.
type crowd struct {
	broker  *broker.Broker
	events  []sse.Event    // of a round; changed between rounds only
	members map[string]int // by topic

	pending atomic.Int64  // members that lack events of the round
	arrived chan struct{} // sent to by the last of them; nobody closes it
	failed  chan error    // the first failure; nobody closes it
	timeout *time.Timer

	ctx context.Context // ends with the benchmark
	wg  sync.WaitGroup  // the members' goroutines
}

// newCrowd returns a crowd without members, and with that many events in a
// round. It closes br when b ends.
func newCrowd(b *testing.B, br *broker.Broker, events int) *crowd {
	ctx, cancel := context.WithCancel(context.Background())
	c := &crowd{
		broker:  br,
		members: make(map[string]int),
		arrived: make(chan struct{}, 1),
		failed:  make(chan error, 1),
		timeout: time.NewTimer(patience),
		ctx:     ctx,
	}
	c.setEvents(events)
	b.Cleanup(func() {
		cancel()
		c.timeout.Stop()
		br.Close()
		c.wg.Wait()
	})
	return c
}

// setEvents sets the number of events of a round.
func (c *crowd) setEvents(n int) {
	c.events = nil
	for i := range n {
		c.events = append(c.events, sse.Event{Data: fmt.Sprintf("%064d", i)})
	}
}

// join adds n subscriptions of a topic.
func (c *crowd) join(b *testing.B, n int, topic string) {
	c.members[topic] += n
	for range n {
		sub, err := c.broker.Subscribe(topic)
		if err != nil {
			b.Fatal(err)
		}
		c.wg.Go(func() { c.attend(sub) })
	}
}

// attend takes the events of one subscription.
func (c *crowd) attend(sub *broker.Subscription) {
	next := 0 // index of the next event of the round
	for ev, err := range sub.Events(c.ctx) {
		if c.ctx.Err() != nil {
			return
		}
		if err != nil || ev.Type != "" || ev.Data != c.events[next].Data {
			select {
			case c.failed <- fmt.Errorf("got %+v, %v instead of event %d of a round", ev, err, next):
			default:
			}
			return
		}
		if next++; next == len(c.events) {
			next = 0
			if c.pending.Add(-1) == 0 {
				c.arrived <- struct{}{}
			}
		}
	}
}

// round publishes the events on each of the topics, and waits until all members
// have them.
func (c *crowd) round(b *testing.B, topics ...string) {
	c.expect(topics...)
	c.publish(b, topics...)
	c.await(b)
}

// expect begins a round of events that come on each of the topics.
func (c *crowd) expect(topics ...string) {
	members := 0
	for _, topic := range topics {
		members += c.members[topic]
	}
	c.pending.Store(int64(members))
	c.timeout.Reset(patience)
}

func (c *crowd) publish(b *testing.B, topics ...string) {
	for i := range topics {
		for _, ev := range c.events {
			if _, err := c.broker.Publish(c.ctx, ev, topics[i:i+1]...); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// await waits until all members have the events of the round.
func (c *crowd) await(b *testing.B) {
	select {
	case <-c.arrived:
	case err := <-c.failed:
		b.Fatal(err)
	case <-c.timeout.C:
		b.Fatalf("%d subscriptions lack events", c.pending.Load())
	}
}

// report adds the metrics of rounds with so many deliveries each.
func (c *crowd) report(b *testing.B, used usage, deliveries int) {
	used.report("delivery", deliveries)
	reportDeliveries(b, deliveries)
	mustBeSmooth(b, c.broker)
}

// A publisher publishes events whose IDs are their serials.
type publisher struct {
	broker *broker.Broker
	data   string
	next   serial
}

// newPublisher returns a publisher of events with so many bytes of data.
func newPublisher(br *broker.Broker, size int) *publisher {
	return &publisher{broker: br, data: strings.Repeat("x", size), next: firstSerial}
}

func (p *publisher) publish(events int) error {
	for range events {
		if _, err := p.broker.Publish(context.Background(), sse.Event{ID: p.next.String(), Data: p.data}); err != nil {
			return err
		}
		p.next.next()
	}
	return nil
}

// A serial numbers events in digits: those that have it as their ID are all of
// one length when encoded, and each is made from the one before in place.
type serial [12]byte

var firstSerial = serial([]byte("000000000000"))

func (s *serial) next() {
	for i := len(s) - 1; i >= 0; i-- {
		if s[i]++; s[i] <= '9' {
			return
		}
		s[i] = '0'
	}
}

func (s serial) String() string { return string(s[:]) }
