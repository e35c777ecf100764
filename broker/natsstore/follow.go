package natsstore

import (
	"context"
	"iter"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/fanfare-go/fanfare/broker"
)

const (
	pullExpiry    = 10 * time.Second
	pullHeartbeat = time.Second // two without one, and the consumer counts as lost
	consumerTTL   = 30 * time.Second
	consumerWait  = 100 * time.Millisecond // before a lost consumer is replaced
)

// Follow yields each event after the ID after: see [broker.Follower]. It goes
// on where it was when the connection comes back, or the server, as long as
// that answers within the time that a request may take; else it ends with the
// error, and can be called again with the last ID it yielded.
func (s *Store) Follow(ctx context.Context, after string) iter.Seq2[broker.Message, error] {
	return func(yield func(broker.Message, error) bool) {
		err := s.follow(ctx, after, func(e entry) bool { return yield(e.message, nil) })
		if err != nil {
			yield(broker.Message{}, err)
		}
	}
}

// follow yields what comes after an ID. It returns nil if yield does not want
// more.
func (s *Store) follow(ctx context.Context, after string, yield func(entry) bool) error {
	_, c, err := s.begin(ctx, after)
	if err != nil {
		return err
	}
	for {
		messages, err := s.consume(ctx, &c)
		if err != nil {
			return err
		}
		more, err := s.take(ctx, messages, &c, yield)
		messages.Stop()
		if !more || err != nil {
			return err
		}
		if err := sleep(ctx, consumerWait); err != nil {
			return err
		}
	}
}

// consume makes a consumer of what comes after c. It is what JetStream calls an
// ordered consumer, which [jetstream.JetStream.OrderedConsumer] has too, but
// there neither a context nor Stop ends the wait for a server that is away.
func (s *Store) consume(ctx context.Context, c *cursor) (jetstream.MessagesContext, error) {
	consumer, err := s.js.CreateConsumer(ctx, s.opts.Name, jetstream.ConsumerConfig{
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       c.at.sequence + 1,
		AckPolicy:         jetstream.AckNonePolicy,
		InactiveThreshold: consumerTTL,
		Replicas:          1,
		MemoryStorage:     true,
	})
	if err != nil {
		return nil, fail(ctx, err)
	}
	// The consumer goes with its stream. If the epoch is the same now, it is of
	// that epoch; if a new stream comes later, this consumer fails.
	st, err := s.look(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := c.advance(st, nil); err != nil {
		return nil, err
	}
	if !c.begun {
		c.at.epoch = st.last.epoch
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(s.opts.PageSize),
		jetstream.PullExpiry(pullExpiry), jetstream.PullHeartbeat(pullHeartbeat))
	if err != nil {
		return nil, fail(ctx, err)
	}
	return messages, nil
}

// take yields messages until the consumer fails, which is no error: more says
// that another may go on where c is.
func (s *Store) take(ctx context.Context, messages jetstream.MessagesContext, c *cursor, yield func(entry) bool) (more bool, err error) {
	for taken := uint64(1); ; taken++ {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
		if err != nil {
			return true, nil
		}
		meta, err := m.Metadata()
		if err != nil {
			return false, fail(ctx, err)
		}
		if meta.Sequence.Consumer != taken {
			return true, nil // one was lost on the way
		}
		e := decode(position{c.at.epoch, meta.Sequence.Stream}, m.Headers(), m.Data())
		st := state{first: c.at.sequence + 1, last: e.at}
		if e.at.sequence != st.first {
			if st, err = s.look(ctx); err != nil {
				return false, err
			}
		}
		if _, err := c.advance(st, []entry{e}); err != nil {
			return false, err
		}
		s.see(e.at)
		if !e.foreign && !yield(e) {
			return false, nil
		}
	}
}
