package broker_test

import (
	"context"
	"errors"
	"iter"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/broker/storetest"
	"github.com/fanfare-go/fanfare/sse"
)

// deaf is a Follower which does not hear that a context ends.
type deaf struct {
	broker.Follower
	wait chan struct{} // Append and the end of Follow do until it is closed
}

func (d *deaf) Append(ctx context.Context, ev sse.Event, topics []string) (string, error) {
	<-d.wait
	return d.Follower.Append(context.WithoutCancel(ctx), ev, topics)
}

func (d *deaf) Follow(ctx context.Context, after string) iter.Seq2[broker.Message, error] {
	return func(yield func(broker.Message, error) bool) {
		d.Follower.Follow(ctx, after)(yield)
		<-d.wait
	}
}

func TestShutdownReturnsOnceTheFollowerIsNotReadAnyMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &deaf{storetest.NewLog(), make(chan struct{})}
		b := broker.New(&broker.Options{Store: store})
		synctest.Wait() // until it follows
		start := time.Now()
		time.AfterFunc(time.Second, func() { close(store.wait) })
		require.NoError(t, b.Shutdown(t.Context()))
		assert.Equal(t, time.Second, time.Since(start))
	})
}

func TestCloseEndsAShutdownThatWaits(t *testing.T) {
	for name, busy := range map[string]func(t *testing.T, b *broker.Broker, wait chan struct{}){
		"for the Store": func(t *testing.T, b *broker.Broker, _ chan struct{}) {
			go b.Publish(context.Background(), sse.Event{Data: "1"})
		},
		"for a loop": func(t *testing.T, b *broker.Broker, wait chan struct{}) {
			sub := subscribe(t, b)
			_, err := b.Publish(t.Context(), sse.Event{Data: "1"})
			require.NoError(t, err)
			go func() {
				for range sub.Events(context.Background()) {
					<-wait
				}
			}()
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				wait := make(chan struct{})
				defer close(wait)
				opts := broker.Options{}
				if name == "for the Store" {
					opts.Store = &deaf{storetest.NewLog(), wait}
				}
				b := broker.New(&opts)
				synctest.Wait()
				busy(t, b, wait)
				synctest.Wait()

				ctx, cancel := context.WithCancelCause(t.Context())
				down, late := make(chan error, 1), make(chan error, 1)
				go func() { down <- b.Shutdown(context.Background()) }()
				go func() { late <- b.Shutdown(ctx) }()
				synctest.Wait()
				assert.Empty(t, down)
				enough := errors.New("enough")
				cancel(enough) // which closes the Broker
				assert.Equal(t, enough, <-late)
				assert.NoError(t, <-down)
			})
		})
	}
}

func TestShutdownWaitsForALoopThatBeganWhenThereWasNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := broker.New(nil)
		sub := subscribe(t, b)
		pending(t, sub) // a loop that has ended
		publish(t, b, 1, 3)
		var got []string
		go func() {
			for ev, err := range sub.Events(context.Background()) {
				if err == nil {
					time.Sleep(time.Second)
					got = append(got, ev.Data)
				}
			}
		}()
		synctest.Wait()
		require.NoError(t, b.Shutdown(t.Context()))
		assert.Equal(t, numbers(1, 3), got)
	})
}

func TestShutdownOnAFollowerWaitsForNothingIfNothingWasPublished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := storetest.NewLog()
		b := broker.New(&broker.Options{Store: log})
		start := time.Now()
		require.NoError(t, b.Shutdown(t.Context()))
		assert.Zero(t, time.Since(start))
	})
}
