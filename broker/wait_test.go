package broker_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/fanfare-go/fanfare/broker"
)

// attend ranges over sub until the test ends. Each event is sent to heard, and the
// loop goes on when that is received.
func attend(t *testing.T, sub *broker.Subscription) (heard chan string) {
	heard = make(chan string)
	go func() {
		for ev, err := range sub.Events(t.Context()) {
			if err != nil {
				return
			}
			select {
			case heard <- show(ev):
			case <-t.Context().Done():
			}
		}
	}()
	synctest.Wait()
	return heard
}

// hear receives all that a loop has to say.
func hear(heard chan string) (all []string) {
	for {
		synctest.Wait()
		select {
		case s := <-heard:
			all = append(all, s)
		default:
			return all
		}
	}
}

func TestALoopThatWaitsIsToldWhatWasDroppedWhileItWasBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &broker.Options{QueueSize: 2, Slow: broker.DropNewest})
		heard := attend(t, subscribe(t, b))
		for i := 1; i <= 5; i++ {
			publish(t, b, i, i)
			synctest.Wait()
		}
		assert.Equal(t, []string{"1", "2", "3", "gap:"}, hear(heard))
		publish(t, b, 6, 6)
		assert.Equal(t, []string{"6"}, hear(heard))
		assert.Equal(t, broker.Stats{Subscribers: 1, Published: 6, Delivered: 4, Dropped: 2, Gaps: 1}, b.Stats())
	})
}

func TestALoopThatWaitsOnABrokerThatLagsYieldsNothingTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lagging, behind, ids := newLagging(t)
		heard := attend(t, resume(t, lagging, ids[1]))
		behind.Resume()
		assert.Equal(t, []string{"5"}, hear(heard))
	})
}

func TestALoopThatEndsInABurstGoesOnWithTheRestOfIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &broker.Options{FlushInterval: time.Millisecond}) // all five are one item
		sub := subscribe(t, b)
		var got []string
		loop := func(n int) {
			for ev, err := range sub.Events(t.Context()) {
				assert.NoError(t, err)
				if got = append(got, show(ev)); len(got) == n {
					break
				}
			}
		}
		done := make(chan struct{})
		go func() {
			loop(2)
			loop(3)
			loop(5)
			close(done)
		}()
		synctest.Wait()
		publish(t, b, 1, 5)
		<-done
		assert.Equal(t, []string{"1", "2", "3", "4", "5"}, got)
	})
}

// lateContext ends while somebody who is told that it has not looks away.
type lateContext struct {
	context.Context
	end  context.CancelFunc
	late *atomic.Bool
}

func (c lateContext) Err() error {
	err := c.Context.Err()
	if c.late.Swap(false) {
		c.end()
		time.Sleep(time.Second)
	}
	return err
}

func TestALoopEndsWhoseContextEndsJustBeforeItTakesAnEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, nil)
		sub := subscribe(t, b)
		inner, end := context.WithCancel(t.Context())
		ctx := lateContext{inner, end, new(atomic.Bool)}
		var got []string
		done := make(chan error, 1)
		go func() {
			for ev, err := range sub.Events(ctx) {
				if err != nil {
					done <- err
					return
				}
				got = append(got, show(ev))
			}
		}()
		synctest.Wait()
		ctx.late.Store(true)
		publish(t, b, 1, 1)
		assert.ErrorIs(t, <-done, context.Canceled) // or the bubble is in a deadlock
		assert.Equal(t, []string{"1"}, got)
	})
}
