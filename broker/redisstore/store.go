// Package redisstore is a [broker.Follower] on Redis Streams: brokers of any
// number of processes share one history, which a Redis server keeps.
//
//	client := redis.NewClient(&redis.Options{Addr: "localhost:6379"})
//	store, err := redisstore.Open(ctx, client, &redisstore.Options{MaxAge: 24 * time.Hour})
//	b := broker.New(&broker.Options{Store: store})
//
// One stream holds all events of all topics. Its IDs are their order, and an
// event's ID is the time the stream was made, a dash, and Redis's ID: a cursor
// of another stream is unknown, and not mistaken for that of another event.
package redisstore

import (
	"context"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/sse"
)

var _ broker.Follower = (*Store)(nil)

// A Store is a [broker.Follower] on a Redis stream. It owns nothing but what a
// call needs while it lasts, so there is nothing to close. All methods may be
// called concurrently.
type Store struct {
	client redis.UniversalClient
	opts   Options
}

// state is what the stream is like at one moment.
type state struct {
	first uint64   // sequence of the oldest event held; if none is, that of the next to come
	last  position // the newest; of an empty stream the one before all to come
}

// Open returns a Store on a stream, and makes the stream unless it is there;
// nil opts is all defaults. The client stays the caller's, to be closed after
// all brokers. An error is the server's.
//
// A call returns when its ctx ends, whatever the server does; the request may
// then go on in the background until the client's ReadTimeout.
func Open(ctx context.Context, client redis.UniversalClient, opts *Options) (*Store, error) {
	s := &Store{client: client, opts: opts.withDefaults()}
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
	keys := s.keys()
	if ev.ID != "" && s.opts.Duplicates > 0 {
		keys = append(keys, s.key("id:"+ev.ID))
	}
	trim := "="
	if s.opts.Approximate {
		trim = "~"
	}
	args := []any{max(s.opts.MaxEvents, 0), milliseconds(s.opts.MaxAge), trim, milliseconds(s.opts.Duplicates)}
	var answer struct {
		id        string
		duplicate int64
	}
	err := s.run(ctx, appendScript, keys, append(args, encode(ev, topics)...), &answer.id, &answer.duplicate)
	if err != nil {
		return "", err
	}
	if answer.duplicate != 0 {
		return answer.id, broker.ErrDuplicate
	}
	return answer.id, nil
}

// milliseconds returns d in whole milliseconds, rounded up, for Redis knows no
// shorter time; 0 if d is negative.
func milliseconds(d time.Duration) int64 {
	ms := max(d, 0).Milliseconds()
	if d > time.Duration(ms)*time.Millisecond {
		ms++
	}
	return ms
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

// look asks for the state. A stream that has gone, as with a server that kept
// it in memory only, is made anew: that is another epoch, so all older cursors
// are gaps.
func (s *Store) look(ctx context.Context) (state, error) {
	st, _, err := s.ask(ctx, "XRANGE", "-", "+", 0)
	return st, err
}

// key returns the name of a key.
func (s *Store) key(name string) string { return "{" + s.opts.Name + "}:" + name }

// keys returns the keys of the stream and of its epoch.
func (s *Store) keys() []string { return []string{s.key("events"), s.key("epoch")} }

// fail returns the cause of the end of ctx, if it has ended, and else err as
// an error of this package.
func fail(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return fmt.Errorf("redisstore: %w", err)
}
