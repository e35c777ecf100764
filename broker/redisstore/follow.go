package redisstore

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/fanfare-go/fanfare/broker"
)

// block is how long Redis keeps a reader waiting that nothing is there for: so
// long a stream that was flushed goes unnoticed, and a call whose ctx has ended
// keeps a connection.
const block = time.Second

// Follow yields each event after the ID after: see [broker.Follower]. It goes
// on where it was when the connection comes back, as long as the client's own
// retries reach the server; else it ends with the error, and can be called again
// with the last ID it yielded.
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
		entries, err := s.read(ctx, &c)
		for _, e := range entries {
			if !e.foreign && !yield(e) {
				return nil
			}
		}
		if err != nil {
			return err
		}
		if len(entries) == 0 {
			if err := s.wait(ctx, c.at); err != nil {
				return err
			}
		}
	}
}

// wait waits until something comes after a place, or for a while. What comes
// is read by page, which sees also what is missing before it.
func (s *Store) wait(ctx context.Context, after position) error {
	done := make(chan error, 1) // sent to once, never closed
	go func() {
		done <- s.client.XRead(ctx, &redis.XReadArgs{
			Streams: []string{s.key("events"), after.inStream()},
			Count:   1,
			Block:   block,
		}).Err()
	}()
	select {
	case err := <-done:
		if err != nil && !errors.Is(err, redis.Nil) {
			return fail(ctx, err)
		}
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
