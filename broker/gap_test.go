package broker_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/broker/storetest"
	"github.com/fanfare-go/fanfare/sse"
)

func TestWhoHasCaughtUpIsToldAGapOfTheFollower(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := storetest.NewLog()
		view := log.View()
		b := newBroker(t, &broker.Options{Store: view, QueueSize: 4})
		sub := subscribe(t, b)
		publish(t, b, 1, 20)
		synctest.Wait()
		assert.Equal(t, numbers(1, 20), take(t, sub, 20))
		require.Positive(t, b.Stats().CaughtUp)

		view.SetErr(errors.New("away"))
		synctest.Wait()
		for _, data := range numbers(21, 30) { // by another process
			_, err := log.Append(t.Context(), sse.Event{Data: data}, []string{""})
			require.NoError(t, err)
		}
		log.Trim(29)
		view.SetErr(nil)
		assert.Equal(t, []string{"gap:", "30"}, take(t, sub, 2))
	})
}

// doubting is a Follower whose Follow says once that there is a gap where there
// is none.
type doubting struct {
	broker.Follower
	doubts atomic.Bool
}

func (d *doubting) Follow(ctx context.Context, after string) iter.Seq2[broker.Message, error] {
	if after != "" && d.doubts.Swap(false) {
		return func(yield func(broker.Message, error) bool) { yield(broker.Message{}, broker.ErrGap) }
	}
	return d.Follower.Follow(ctx, after)
}

func TestNothingIsDeliveredTwiceBehindAGapThatWasNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := storetest.NewLog()
		view := log.View()
		store := &doubting{Follower: view}
		b := newBroker(t, &broker.Options{Store: store})
		sub, s := subscribe(t, b), connect(t, b, "")
		s.news()
		publish(t, b, 1, 3)
		assert.Equal(t, numbers(1, 3), take(t, sub, 3))
		s.news()

		store.doubts.Store(true)
		view.SetErr(errors.New("away"))
		synctest.Wait()
		view.SetErr(nil)
		time.Sleep(10 * time.Second)
		require.False(t, store.doubts.Load())
		assert.Equal(t, "", s.news())
		id := publish(t, b, 4, 4)[0]
		assert.Equal(t, "event: gap\ndata: \n\n"+block(id, "4"), s.news())
		got, err := pending(t, sub)
		require.NoError(t, err)
		assert.Equal(t, []string{"gap:", "4"}, got)
	})
}

func TestAGapOfTheFollowerIsToldOnceBehindAFullQueue(t *testing.T) {
	for name, topic := range map[string]string{"events follow": "busy", "none follow": "quiet"} {
		for _, policy := range []broker.SlowPolicy{broker.CatchUp, broker.DropOldest, broker.DropNewest, broker.Conflate} {
			t.Run(fmt.Sprint(name, " ", policy), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					log := storetest.NewLog()
					view := log.View()
					b := newBroker(t, &broker.Options{Store: view, QueueSize: 2, Slow: policy})
					sub := subscribe(t, b, topic)
					publish(t, b, 1, 2, topic)
					synctest.Wait()

					trimmed(t, log, view, "busy")
					time.Sleep(10 * time.Second)
					got, err := pending(t, sub)
					require.NoError(t, err)
					want := []string{"1", "2", "gap:"}
					if topic == "busy" {
						switch policy {
						case broker.CatchUp, broker.Conflate:
							want = append(want, "7", "8", "9")
						case broker.DropOldest:
							want = []string{"gap:", "8", "9"}
						}
					}
					assert.Equal(t, want, got)
				})
			})
		}
	}
}

// trimmed has others append the events from 3 to 9 to log, and trims it up to 6,
// while view is away.
func trimmed(t *testing.T, log *storetest.Log, view *storetest.View, topic string) {
	view.SetErr(errors.New("away"))
	for _, data := range numbers(3, 9) {
		_, err := log.Append(t.Context(), sse.Event{Data: data}, []string{topic})
		require.NoError(t, err)
	}
	log.Trim(6)
	view.SetErr(nil)
}

func TestAnIdleStreamIsToldAGapOfTheFollower(t *testing.T) {
	for _, policy := range []broker.SlowPolicy{broker.CatchUp, broker.Conflate} {
		synctest.Test(t, func(t *testing.T) {
			log := storetest.NewLog()
			view := log.View()
			b := newBroker(t, &broker.Options{Store: view, Heartbeat: time.Hour, Slow: policy})
			s := connect(t, b, "")
			publish(t, b, 1, 2)
			s.news()
			time.Sleep(time.Minute) // it is parked
			trimmed(t, log, view, "another")
			time.Sleep(time.Minute)
			assert.Equal(t, "event: gap\ndata: \n\n", s.news())
		})
	}
}

func TestADetachedStreamIsToldAGapOfTheFollower(t *testing.T) {
	log := storetest.NewLog()
	view := log.View()
	b := newBroker(t, &broker.Options{Store: view, Detach: true, NoPriming: true})
	srv := loopback(t, b)
	resp, err := srv.Client().Get(srv.URL)
	require.NoError(t, err)
	defer resp.Body.Close()
	d := sse.NewDecoder(resp.Body)
	var got []string
	read := func(last string) {
		for len(got) == 0 || got[len(got)-1] != last {
			ev, err := d.Decode()
			require.NoError(t, err)
			got = append(got, show(ev))
		}
	}
	publish(t, b, 1, 2)
	read("2")
	trimmed(t, log, view, "")
	publish(t, b, 10, 10)
	read("10")
	assert.Equal(t, []string{"1", "2", "gap:", "7", "8", "9", "10"}, got)
}

// doubtful is a Follower whose Follow says once, before the event with data, that
// there is a gap.
type doubtful struct {
	broker.Follower
	data string
	told atomic.Bool
}

func (d *doubtful) Follow(ctx context.Context, after string) iter.Seq2[broker.Message, error] {
	return func(yield func(broker.Message, error) bool) {
		for m, err := range d.Follower.Follow(ctx, after) {
			if m.Event.Data == d.data && !d.told.Swap(true) {
				yield(broker.Message{}, broker.ErrGap)
				return
			}
			if !yield(m, err) {
				return
			}
		}
	}
}

func TestAGapBehindAnEventThatWaitsInAnErrandIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &doubtful{Follower: storetest.NewLog().View(), data: "3"}
		b, stuck, waits, free := onErrand(t, store)
		publish(t, b, 3, 3, "another")
		synctest.Wait()
		free()
		for _, p := range []*peer{stuck, waits} {
			assert.Contains(t, p.Body(), "data: 2\n\nevent: gap\n")
		}
	})
}
