package natsstore

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/fanfare-go/fanfare/broker"
)

const (
	pullExpiry   = 30 * time.Second
	minHeartbeat = time.Second // two without one, and the consumer counts as lost
	maxHeartbeat = pullExpiry / 2
	consumerTTL  = pullExpiry
	consumerWait = 100 * time.Millisecond // before a lost consumer is replaced
	quietTime    = 5 * time.Second        // after which it is asked whether nothing was lost
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
	f := follower{s, c, minHeartbeat, yield}
	for {
		messages, err := f.consume(ctx)
		if err != nil {
			return err
		}
		more, err := f.take(ctx, messages)
		messages.Stop()
		if !more || err != nil {
			return err
		}
		if err := sleep(ctx, consumerWait); err != nil {
			return err
		}
	}
}

// A follower is one call of Follow.
type follower struct {
	*Store
	cursor
	heartbeat time.Duration // of the consumer
	yield     func(entry) bool
}

// consume makes a consumer of what comes next. It is what JetStream calls an
// ordered consumer, which [jetstream.JetStream.OrderedConsumer] has too, but
// there neither a context nor Stop ends the wait for a server that is away.
func (f *follower) consume(ctx context.Context) (jetstream.MessagesContext, error) {
	consumer, err := f.js.CreateConsumer(ctx, f.opts.Name, jetstream.ConsumerConfig{
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       f.at.sequence + 1,
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
	st, err := f.check(ctx)
	if err != nil {
		return nil, err
	}
	if !f.begun {
		f.at.epoch = st.last.epoch
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(f.opts.PageSize),
		jetstream.PullExpiry(pullExpiry), jetstream.PullHeartbeat(f.heartbeat))
	if err != nil {
		return nil, fail(ctx, err)
	}
	return messages, nil
}

// check returns the state, or ErrGap if that is not one in which f has been where it
// is: another stream, or one that was set back.
func (f *follower) check(ctx context.Context) (state, error) {
	st, err := f.look(ctx)
	if err != nil {
		return state{}, err
	}
	if f.begun && (st.last.epoch != f.at.epoch || st.last.before(f.at)) {
		return state{}, broker.ErrGap
	}
	return st, nil
}

// take yields messages until the consumer fails, which is no error: more says
// that another may go on where f is.
func (f *follower) take(ctx context.Context, messages jetstream.MessagesContext) (more bool, err error) {
	defer context.AfterFunc(ctx, messages.Stop)() // ends Next
	began := f.at
	for taken := uint64(1); ; {
		m, err := messages.Next(jetstream.NextMaxWait(max(quietTime, 3*f.heartbeat)))
		if ctx.Err() != nil {
			return false, context.Cause(ctx)
		}
		if errors.Is(err, nats.ErrTimeout) {
			if more, err := f.rest(ctx); more || err != nil {
				return more, err
			}
			continue
		}
		if err != nil {
			// A large event over a slow network holds the heartbeats up. With
			// another consumer it begins anew, and needs no less time.
			if f.at == began {
				f.heartbeat = min(2*f.heartbeat, maxHeartbeat)
			}
			return true, nil
		}
		meta, err := m.Metadata()
		if err != nil {
			return false, fail(ctx, err)
		}
		if meta.Sequence.Consumer != taken {
			return true, nil // one was lost on the way
		}
		taken++
		e := decode(position{f.at.epoch, meta.Sequence.Stream}, m.Headers(), m.Data())
		st := state{first: f.at.sequence + 1, last: e.at}
		if e.at.sequence != st.first {
			if st, err = f.look(ctx); err != nil {
				return false, err
			}
		}
		if _, err := f.advance(st, []entry{e}); err != nil {
			return false, err
		}
		f.see(e.at)
		if !e.foreign && !f.yield(e) {
			return false, nil
		}
	}
}

// rest is called when nothing has come for a while. What was lost on the way, as with
// a connection that broke, shows only when something comes after it: more says that
// another consumer has to get it.
func (f *follower) rest(ctx context.Context) (more bool, err error) {
	st, err := f.check(ctx)
	if err != nil {
		return false, err
	}
	if f.at.before(st.last) {
		held, err := f.holdsAfter(ctx, f.at)
		if held || err != nil {
			return held, err
		}
		return false, f.skip(st) // deleted
	}
	if f.heartbeat > minHeartbeat {
		f.heartbeat = minHeartbeat // what took so long has come
		return true, nil
	}
	return false, nil
}
