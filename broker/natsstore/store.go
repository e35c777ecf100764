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
	"sync"
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
	js   jetstream.JetStream
	opts Options

	mu   sync.Mutex // guards what follows
	seen position   // the newest place that a call of this Store has seen
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
	before := s.lastSeen()
	for {
		ack, err := s.js.PublishMsg(ctx, m, opts...)
		if err == nil {
			return s.acknowledged(ctx, ack, before)
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

// acknowledged returns what Append returns for ack. before was the newest position
// that s knew before the event was sent.
func (s *Store) acknowledged(ctx context.Context, ack *jetstream.PubAck, before position) (string, error) {
	at := position{s.lastSeen().epoch, ack.Sequence}
	if ack.Sequence <= before.sequence {
		// It is a duplicate, or another process has made the stream anew:
		// sequences have begun again, and in the epoch that s knows this one is
		// another event's.
		st, err := s.look(ctx)
		if err != nil {
			return "", err
		}
		at.epoch = st.last.epoch
	}
	s.see(at)
	if ack.Duplicate {
		return at.String(), broker.ErrDuplicate
	}
	return at.String(), nil
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
//
// In a cluster the leader may not yet have what the leader before it had given
// away, or what a replica has. That would make a gap of a good cursor, so look
// asks again until it has what this Store has seen, for a while: a stream that
// was set back never will.
func (s *Store) look(ctx context.Context) (state, error) {
	seen := s.lastSeen()
	for try := 0; ; try++ {
		st, err := s.info(ctx)
		if err != nil {
			return state{}, err
		}
		if st.last.epoch == seen.epoch && st.last.before(seen) && try < lagTries {
			if err := sleep(ctx, lagWait); err != nil {
				return state{}, err
			}
			continue
		}
		if st.last.before(seen) {
			s.setBack(st.last)
		}
		s.see(st.last)
		return st, nil
	}
}

// info asks for the state once.
func (s *Store) info(ctx context.Context) (state, error) {
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
	st := state{
		first: info.State.FirstSeq,
		last:  position{uint64(info.Created.UnixMicro()), info.State.LastSeq},
	}
	if info.State.Msgs == 0 {
		st.first = st.last.sequence + 1
	}
	return st, nil
}

func (s *Store) lastSeen() position {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen
}

// see takes note of a place, if it is the newest so far.
func (s *Store) see(at position) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen.before(at) {
		s.seen = at
	}
}

// setBack replaces what was seen of a stream that was set back since.
func (s *Store) setBack(last position) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = last
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
