package broker_test

import (
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
	for _, during := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			log := storetest.NewLog()
			view := log.View()
			b := newBroker(t, &broker.Options{Store: view})
			publish(t, b, 1, 5)
			synctest.Wait()
			view.Pause()
			publish(t, b, 6, 9)
			setBack := func() {
				log.SetBack(6) // the last that were delivered, too
				view.Resume()
			}
			if during {
				time.AfterFunc(time.Minute, setBack)
			} else {
				setBack()
				synctest.Wait()
			}
			start := time.Now()
			require.NoError(t, b.Shutdown(t.Context()))
			assert.LessOrEqual(t, time.Since(start), time.Minute)
		})
	}
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
