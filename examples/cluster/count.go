package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/sse"
)

// count publishes one number after the other until ctx ends. It goes on after
// the newest that is stored, and needs no broker to publish: the brokers deliver
// whatever is appended to the history they share.
func count(ctx context.Context, urls string, interval time.Duration) error {
	nc, err := dial(urls)
	if err != nil {
		return err
	}
	defer nc.Close()
	store, err := open(ctx, nc)
	if err != nil {
		return err
	}
	n, err := newest(ctx, store)
	if err != nil {
		return err
	}
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		n++
		if err := add(ctx, store, n); err != nil {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// newest returns the newest number, 0 if there is none.
func newest(ctx context.Context, store broker.Store) (n int, err error) {
	last, err := store.Last(ctx)
	if err != nil {
		return 0, err
	}
	for ev, err := range store.Range(ctx, broker.Query{Through: last, Topics: []string{topic}, Newest: 1}) {
		if err != nil {
			return 0, err
		}
		if n, err = strconv.Atoi(ev.Data); err != nil {
			return 0, err
		}
	}
	return n, nil
}

// add publishes a number, again and again until it is sure that the engine has
// it: an event with an ID of its own is stored once.
func add(ctx context.Context, store broker.Store, n int) error {
	ev := sse.Event{ID: fmt.Sprint(topic, "-", n), Data: strconv.Itoa(n)}
	for {
		_, err := store.Append(ctx, ev, []string{topic})
		if err == nil || errors.Is(err, broker.ErrDuplicate) || ctx.Err() != nil {
			return ctx.Err()
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}
