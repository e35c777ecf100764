// Package natsstore is a [broker.Follower] on NATS JetStream: brokers of any
// number of processes share one history, which a server or a cluster of three
// or five keeps on disk.
//
//	nc, err := nats.Connect("nats://localhost:4222", nats.MaxReconnects(-1))
//	js, err := jetstream.New(nc)
//	store, err := natsstore.Open(ctx, js, &natsstore.Options{MaxAge: 24 * time.Hour})
//	b := broker.New(&broker.Options{Store: store})
//
// One stream holds all events of all topics. Its sequence is their order, and
// an event's ID is the time the stream was made, a dash, and its sequence: a
// cursor of another stream is unknown, and not mistaken for that of another
// event.
package natsstore

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/sse"
)

var _ broker.Follower = (*Store)(nil)

// A Store is a [broker.Follower] on a JetStream stream. It owns nothing but
// what a call needs while it lasts, so there is nothing to close. All methods
// may be called concurrently.
type Store struct {
	js    jetstream.JetStream
	opts  Options
	epoch atomic.Uint64 // of the stream as look last saw it
}

// state is what the stream is like at one moment.
type state struct {
	first uint64   // sequence of the oldest event held; if none is, that of the next to come
	last  position // the newest; of an empty stream the one before all to come
}

// Open returns a Store on a stream, and makes the stream or changes its limits
// as opts ask for; nil is all defaults. The connection of js stays the
// caller's, to be closed after all brokers. It should be one that reconnects for
// ever ([nats.MaxReconnects] of -1). An error is the server's, or of the
// options.
//
// Without a deadline of ctx a request to the server takes no longer than js
// allows by default, 5 seconds; that is so in all methods.
func Open(ctx context.Context, js jetstream.JetStream, opts *Options) (*Store, error) {
	s := &Store{js: js, opts: opts.withDefaults()}
	var cfg jetstream.StreamConfig
	stream, err := js.Stream(ctx, s.opts.Name)
	switch {
	case err == nil:
		cfg = stream.CachedInfo().Config
	case !errors.Is(err, jetstream.ErrStreamNotFound):
		return nil, fail(ctx, err)
	}
	if _, err := js.CreateOrUpdateStream(ctx, s.opts.configure(cfg)); err != nil {
		return nil, fail(ctx, err)
	}
	if _, err := s.look(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// Append stores ev: see [broker.Store]. An ev.ID does not become the ID; it is
// remembered for [Options].Duplicates. After an error that is not of ctx's end
// before the call, the event may have been stored or may still be.
func (s *Store) Append(ctx context.Context, ev sse.Event, topics []string) (string, error) {
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	m := encode(s.opts.Name, ev, topics)
	opts := []jetstream.PublishOpt{jetstream.WithExpectStream(s.opts.Name)}
	if ev.ID != "" && s.opts.Duplicates > 0 {
		opts = append(opts, jetstream.WithMsgID(url.QueryEscape(ev.ID)))
	}
	for {
		ack, err := s.js.PublishMsg(ctx, m, opts...)
		if err == nil {
			id := position{s.epoch.Load(), ack.Sequence}.String()
			if ack.Duplicate {
				return id, broker.ErrDuplicate
			}
			return id, nil
		}
		// A cluster refuses an ID whose first event is still on its way to the
		// replicas: it has no sequence to answer with yet.
		const inProcess = 10158
		if e, ok := errors.AsType[*jetstream.APIError](err); !ok || e.ErrorCode != inProcess {
			return "", fail(ctx, err)
		}
		if err := sleep(ctx, 10*time.Millisecond); err != nil {
			return "", err
		}
	}
}

// Last returns the newest ID, whether or not its event is still held: see
// [broker.Store].
func (s *Store) Last(ctx context.Context) (string, error) {
	st, err := s.look(ctx)
	if err != nil {
		return "", err
	}
	return st.last.String(), nil
}

// look asks for the state. A stream that has gone, as with a server that lost
// its disk, is made anew: that is another epoch, so all older cursors are gaps.
func (s *Store) look(ctx context.Context) (state, error) {
	if ctx.Err() != nil {
		return state{}, context.Cause(ctx)
	}
	stream, err := s.js.Stream(ctx, s.opts.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		stream, err = s.js.CreateStream(ctx, s.opts.configure(jetstream.StreamConfig{}))
	}
	if err != nil {
		return state{}, fail(ctx, err)
	}
	info := stream.CachedInfo()
	epoch := uint64(info.Created.UnixMicro())
	s.epoch.Store(epoch)
	st := state{first: info.State.FirstSeq, last: position{epoch, info.State.LastSeq}}
	if info.State.Msgs == 0 {
		st.first = st.last.sequence + 1
	}
	return st, nil
}

// fail returns the cause of the end of ctx, if it has ended, and else err as
// an error of this package.
func fail(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return fmt.Errorf("natsstore: %w", err)
}

// sleep waits for d, or until ctx ends.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
