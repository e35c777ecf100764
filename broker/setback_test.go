package broker_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/broker/storetest"
	"github.com/fanfare-go/fanfare/sse"
)

// An engine that comes back from a crash may have lost its newest events, and gives
// their IDs again.

var everyPolicy = []broker.SlowPolicy{broker.CatchUp, broker.Disconnect, broker.DropOldest, broker.DropNewest, broker.Conflate}

func TestWhoIsSubscribedWhenAFollowerIsSetBackIsToldAGapAndGoesOn(t *testing.T) {
	for _, slow := range everyPolicy {
		t.Run(fmt.Sprint(slow), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := storetest.NewLog()
				b := newBroker(t, &broker.Options{Store: log.View(), Slow: slow})
				sub, s := subscribe(t, b), connect(t, b, "")
				ids := publish(t, b, 1, 5)
				assert.Equal(t, numbers(1, 5), take(t, sub, 5))
				s.news()

				log.SetBack(3)
				synctest.Wait()
				assert.Equal(t, "event: gap\ndata: \n\nid: "+ids[1]+"\n\n", s.news(), "which is the newest now")
				again := publish(t, b, 6, 7)
				require.Equal(t, ids[2:4], again, "IDs are given again")
				got, err := pending(t, sub)
				require.NoError(t, err)
				assert.Equal(t, []string{"gap:", "6", "7"}, got)
				assert.Equal(t, block(again[0], "6")+block(again[1], "7"), s.news())

				// A cursor into what was lost.
				assert.Equal(t, "event: gap", strings.SplitN(connect(t, b, ids[4]).news(), "\n", 2)[0])
			})
		})
	}
}

func TestWhatWasAppendedBeforeItIsKnownThatAFollowerIsSetBackIsInTheGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := storetest.NewLog()
		view := log.View()
		b := newBroker(t, &broker.Options{Store: view})
		sub := subscribe(t, b)
		publish(t, b, 1, 5)
		assert.Equal(t, numbers(1, 5), take(t, sub, 5))
		view.Pause()
		log.SetBack(3)
		publish(t, b, 6, 6)
		view.Resume()
		publish(t, b, 7, 7)
		got, err := pending(t, sub)
		require.NoError(t, err)
		assert.Contains(t, [][]string{{"gap:", "7"}, {"gap:"}}, got)
		publish(t, b, 8, 9)
		got, err = pending(t, sub)
		require.NoError(t, err)
		assert.Equal(t, numbers(8, 9), got)
	})
}

func TestWhoGetsASnapshotGetsOneWhenAFollowerIsSetBack(t *testing.T) {
	for _, slow := range []broker.SlowPolicy{broker.CatchUp, broker.Conflate} {
		synctest.Test(t, func(t *testing.T) {
			log := storetest.NewLog()
			b := newBroker(t, &broker.Options{Store: log.View(), Slow: slow,
				Snapshot: func(*http.Request, []string) ([]sse.Event, error) { return []sse.Event{{Data: "state"}}, nil }})
			s := connect(t, b, "")
			ids := publish(t, b, 1, 5)
			s.news()
			log.SetBack(3)
			assert.Equal(t, "event: gap\ndata: \n\n"+block("", "state")+"id: "+ids[1]+"\n\n", s.news(), slow)
			publish(t, b, 6, 7)
			assert.Equal(t, block(ids[2], "6")+block(ids[3], "7"), s.news(), slow)
		})
	}
}

func TestWhoCatchesUpWhenAFollowerIsSetBackMissesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := storetest.NewLog()
		b := newBroker(t, &broker.Options{Store: log.View(), QueueSize: 2})
		sub := subscribe(t, b)
		publish(t, b, 1, 9) // most are in the Store alone, and in the window
		synctest.Wait()
		assert.Equal(t, numbers(1, 2), take(t, sub, 2))
		log.SetBack(5)
		synctest.Wait()
		publish(t, b, 10, 11)
		synctest.Wait()
		got, err := pending(t, sub)
		require.NoError(t, err)
		assert.Equal(t, []string{"3", "4", "10", "11"}, got, "it had got nothing of what was lost")
	})
}

func TestShutdownDoesNotWaitForWhatAFollowerHasLost(t *testing.T) {
	for _, lost := range []int{4, 6} { // 4: none that was delivered
		for _, when := range []time.Duration{0, time.Minute} {
			synctest.Test(t, func(t *testing.T) {
				log := storetest.NewLog()
				view := log.View()
				b := newBroker(t, &broker.Options{Store: view})
				publish(t, b, 1, 5)
				synctest.Wait()
				view.Pause()
				publish(t, b, 6, 9)
				time.AfterFunc(when, func() {
					log.SetBack(lost)
					view.Resume()
				})
				if when == 0 {
					synctest.Wait()
				}
				start := time.Now()
				require.NoError(t, b.Shutdown(t.Context()))
				assert.LessOrEqual(t, time.Since(start), when+8*time.Second)
			})
		}
	}
}

func TestWhoIsSlowWhenAFollowerIsSetBackDoesNotGoOnFromALostID(t *testing.T) {
	for _, slow := range []broker.SlowPolicy{broker.CatchUp, broker.Conflate} {
		synctest.Test(t, func(t *testing.T) {
			log := storetest.NewLog()
			b := newBroker(t, &broker.Options{Store: log.View(), QueueSize: 2, Slow: slow})
			sub := subscribe(t, b)
			publish(t, b, 1, 1)
			assert.Equal(t, numbers(1, 1), take(t, sub, 1))
			publish(t, b, 2, 3) // queued, and then lost
			synctest.Wait()
			log.SetBack(2)
			synctest.Wait()
			publish(t, b, 4, 8) // 4 and 5 have the IDs of 2 and 3
			synctest.Wait()
			got, err := pending(t, sub)
			require.NoError(t, err)
			assert.Equal(t, []string{"2", "3", "gap:", "1", "4", "5", "6", "7", "8"}, got, slow)
		})
	}
}

func TestWhoHasNotHeardThatAFollowerIsSetBackWhenItIsAgainGetsAllThatIsNew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := storetest.NewLog()
		b := newBroker(t, &broker.Options{Store: log.View(), QueueSize: 8})
		sub := subscribe(t, b)
		publish(t, b, 1, 3)
		synctest.Wait()
		log.SetBack(2) // to 1
		synctest.Wait()
		publish(t, b, 4, 4) // has the ID of 2
		publish(t, b, 5, 9, "other")
		synctest.Wait()
		log.SetBack(2) // to what has an ID after that of 3
		synctest.Wait()
		publish(t, b, 10, 10)
		got, err := pending(t, sub)
		require.NoError(t, err)
		assert.Equal(t, []string{"1", "2", "3", "gap:", "4", "gap:", "10"}, got)
	})
}

func TestWhoBeginsWithASnapshotWhenAFollowerIsSetBackDoesNotGoOnFromALostID(t *testing.T) {
	for _, slow := range []broker.SlowPolicy{broker.CatchUp, broker.Conflate} {
		synctest.Test(t, func(t *testing.T) {
			log := storetest.NewLog()
			hold := make(chan struct{})
			b := newBroker(t, &broker.Options{Store: log.View(), Slow: slow,
				Snapshot: func(*http.Request, []string) ([]sse.Event, error) {
					<-hold
					return []sse.Event{{Data: "state"}}, nil
				}})
			ids := publish(t, b, 1, 5)
			synctest.Wait()
			s := connect(t, b, "")
			synctest.Wait()
			log.SetBack(3)
			synctest.Wait()
			publish(t, b, 6, 10)
			synctest.Wait()
			close(hold)
			state := block("", "state")
			assert.Equal(t, state+"id: "+ids[4]+"\n\nevent: gap\ndata: \n\n"+state+"id: "+strings.TrimSuffix(ids[0], "1")+"7\n\n", s.news())
		})
	}
}

func TestWhoIsAheadOfItsBrokerWhenAFollowerIsSetBackGetsWhatIsNew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := storetest.NewLog()
		view := log.View()
		ahead, lagging := newBroker(t, &broker.Options{Store: log.View()}), newBroker(t, &broker.Options{Store: view})
		publish(t, ahead, 1, 5)
		synctest.Wait()
		view.Pause()
		ids := publish(t, ahead, 6, 10)
		sub := resume(t, lagging, ids[4])
		got, err := pending(t, sub)
		require.NoError(t, err)
		assert.Empty(t, got)
		log.SetBack(8)
		view.Resume()
		got, err = pending(t, sub)
		require.NoError(t, err)
		assert.Equal(t, []string{"gap:"}, got)
		publish(t, ahead, 11, 20)
		got, err = pending(t, sub)
		require.NoError(t, err)
		assert.Equal(t, numbers(11, 20), got)
	})
}

func TestATopicThatWasAddedBeforeAFollowerIsSetBackIsFollowedFromThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := storetest.NewLog()
		b := newBroker(t, &broker.Options{Store: log.View(), QueueSize: 2})
		sub := subscribe(t, b, "a")
		publish(t, b, 1, 2, "a")
		assert.Equal(t, numbers(1, 2), take(t, sub, 2))
		publish(t, b, 3, 9, "a") // more than the queue holds
		synctest.Wait()
		require.NoError(t, sub.Add("b"))
		log.SetBack(5)
		synctest.Wait()
		publish(t, b, 10, 20, "b") // the first have the IDs of 5 to 9
		got, err := pending(t, sub)
		require.NoError(t, err)
		assert.Equal(t, append(numbers(3, 4), numbers(10, 20)...), got)
	})
}

func TestAReplayThatBeginsAfterAFollowerWasSetBackRepeatsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := storetest.NewLog()
		b := newBroker(t, &broker.Options{Store: log.View()})
		ids := publish(t, b, 1, 9)
		synctest.Wait()
		sub := resume(t, b, ids[2]) // to get what comes through 9 from the Store
		log.SetBack(5)
		synctest.Wait()
		publish(t, b, 10, 15)
		got, err := pending(t, sub)
		require.NoError(t, err)
		assert.Equal(t, append([]string{"4", "gap:"}, numbers(10, 15)...), got)
	})
}

// unsteady is a Follower whose Last fails so many times.
type unsteady struct {
	broker.Follower
	times int
}

func (f *unsteady) Last(ctx context.Context) (string, error) {
	if f.times > 0 {
		f.times--
		return "", errors.New("away")
	}
	return f.Follower.Last(ctx)
}

func TestALostCursorIsNotSetBackByABrokerThatLagsAndWhoseFollowerFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := storetest.NewLog()
		view := log.View()
		store := &unsteady{Follower: view}
		ahead, lagging := newBroker(t, &broker.Options{Store: log.View()}), newBroker(t, &broker.Options{Store: store})
		publish(t, ahead, 1, 4)
		synctest.Wait()
		view.Pause()
		ids := publish(t, ahead, 5, 8)
		store.times = 1
		s := connect(t, lagging, "unknown")
		time.Sleep(time.Second)
		news := s.news()
		assert.Equal(t, 1, strings.Count(news, "event: gap"))
		assert.True(t, strings.HasSuffix(news, block(ids[3], "8")), news)
	})
}

func TestAFollowerThatIsSetBackAndDoesNotSayWhereToIsAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := storetest.NewLog()
		view := log.View()
		b := newBroker(t, &broker.Options{Store: view})
		sub := subscribe(t, b)
		publish(t, b, 1, 5)
		assert.Equal(t, numbers(1, 5), take(t, sub, 5))
		view.SetErr(fmt.Errorf("away"))
		log.SetBack(3)
		time.Sleep(time.Minute)
		view.SetErr(nil)
		time.Sleep(time.Minute)
		publish(t, b, 6, 7)
		got, err := pending(t, sub)
		require.NoError(t, err)
		assert.Equal(t, []string{"gap:", "6", "7"}, got)
	})
}
