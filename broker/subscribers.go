package broker

import (
	"time"
)

// A Subscriber is what [Broker.Subscribers] tells of one: a copy, for reading.
type Subscriber struct {
	// Remote is the remote address of a subscriber over HTTP, as net/http
	// has it; "" in process.
	Remote string

	// Caller is what Options.Caller says of a subscriber over HTTP; "" in
	// process.
	Caller string

	// Topics must not be changed.
	Topics []string

	// Since is when it subscribed.
	Since time.Time

	// Queued events of QueuedBytes in all wait in its queue. There may be more
	// in a write that is under way.
	Queued      int
	QueuedBytes int

	// Delivered is how many events it took or was sent, replayed ones included.
	Delivered uint64

	// Dropped is how many events the slow policy discarded.
	Dropped uint64

	// Lag is for how long there has been something that it does not have yet:
	// since the write that is under way began, since its queue has not been
	// empty, or since it began to read the Store, whichever is longest ago. 0:
	// it has all there is. Who keeps up lags for some milliseconds in the middle of a
	// delivery: slow is who lags for longer.
	Lag time.Duration

	// CatchingUp says that what it gets now comes from the Store.
	CatchingUp bool
}

// Subscribers returns who is subscribed, over HTTP and in process, in no
// particular order. Figures of one Subscriber are of about the same moment,
// those of several may be some milliseconds apart. It takes a fraction of a
// microsecond of each shard for each subscriber: call it for somebody who looks,
// not for every event.
func (b *Broker) Subscribers() []Subscriber {
	reports := b.report()
	all := make([]Subscriber, len(reports))
	for i := range reports {
		all[i] = reports[i].Subscriber
	}
	return all
}

// Count returns how many subscriptions there are to topic: a producer that
// works on demand need not work for nobody.
func (b *Broker) Count(topic string) int {
	b.order.Lock()
	defer b.order.Unlock()
	n := 0
	for _, in := range b.interest[topic] {
		n += in.n
	}
	return n
}

// age is how long the Broker has been there.
func (b *Broker) age() time.Duration { return time.Since(b.born) }

// A report is about one subscription.
type report struct {
	Subscriber
	sub *Subscription
	reg *registration
}

// report asks the shards about all subscriptions, for the queues are theirs: a
// few at a time, so that neither the order lock nor a shard is held up for long.
// A map may change while it is ranged over.
func (b *Broker) report() []report {
	const few = 512
	b.order.Lock()
	defer b.order.Unlock()
	all := make([]report, 0, len(b.subs))
	asked := 0
	for s := range b.subs {
		all = append(all, report{Subscriber: Subscriber{Remote: s.remote, Caller: s.caller, Topics: s.topics}, sub: s, reg: s.reg})
		if len(all)-asked == few {
			b.askLocked(all[asked:])
			asked = len(all)
		}
	}
	b.askLocked(all[asked:])
	return all
}

// askLocked completes the reports. Meanwhile it gives the order lock away, as
// waiting for a shard is not for those who hold it.
func (b *Broker) askLocked(part []report) {
	var replies []chan struct{}
	for _, s := range b.shards {
		reply := make(chan struct{})
		replies = append(replies, reply)
		s.send(op{do: func(s *shard, _ op) {
			s.report(part)
			close(reply)
		}})
	}
	b.order.Unlock()
	defer b.order.Lock()
	for i, s := range b.shards {
		select {
		case <-replies[i]:
		case <-s.done:
			s.report(part) // what it had was not touched since; twice does no harm
		}
	}
	age := b.age()
	for i := range part {
		part[i].complete(age)
	}
}

// report fills in what only the shard of a registration may look at.
func (s *shard) report(part []report) {
	for i := range part {
		p := &part[i]
		r := p.reg
		if r == nil || r.shard != s {
			continue
		}
		events, bytes := r.eventsOut.Load(), r.bytesOut.Load()
		p.Queued, p.QueuedBytes = int(r.eventsIn-events), int(r.bytesIn-bytes)
		if p.Queued > 0 {
			p.Lag = time.Since(s.born) - r.since
		}
		if g := r.group; g != nil && g.batch != nil {
			p.Queued += g.batch.events
			p.QueuedBytes += g.batch.size
			if r.past != nil {
				p.Queued -= r.past.events
				p.QueuedBytes -= r.past.size
			}
		}
	}
}

// complete fills in what anybody may look at.
func (p *report) complete(age time.Duration) {
	s := p.sub
	p.Since = s.b.born.Add(s.since)
	p.Delivered, p.Dropped = s.total.Load(), s.dropped.Load()
	if at := time.Duration(s.catching.Load()); at >= 0 {
		p.CatchingUp = true
		p.Lag = max(p.Lag, age-at)
	}
	if s.stream != nil {
		p.Lag = max(p.Lag, s.stream.guard.writing(age))
	}
}
