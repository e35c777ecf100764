package broker_test

import (
	"context"
	"errors"
	"slices"
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

func TestBrokersOnOneFollowerDeliverOneOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := storetest.NewLog()
		one, two := newBroker(t, &broker.Options{Store: log.View()}), newBroker(t, &broker.Options{Store: log.View()})
		synctest.Wait() // until both follow
		subs := []*broker.Subscription{subscribe(t, one), subscribe(t, two), subscribe(t, one)}
		for i := range 50 {
			b := []*broker.Broker{one, two}[i%2]
			go publish(t, b, i, i)
		}
		first, err := pending(t, subs[0])
		require.NoError(t, err)
		assert.ElementsMatch(t, numbers(0, 49), first)
		for _, sub := range subs[1:] {
			got, err := pending(t, sub)
			require.NoError(t, err)
			assert.Equal(t, first, got)
		}
	})
}

// newLagging returns a Broker that lacks the events 3 to 5 of another, until its view
// of their log is resumed, and the IDs of those. To be called in a bubble.
func newLagging(t *testing.T) (lagging *broker.Broker, behind *storetest.View, ids []string) {
	log := storetest.NewLog()
	behind = log.View()
	ahead := newBroker(t, &broker.Options{Store: log.View()})
	lagging = newBroker(t, &broker.Options{Store: behind})
	publish(t, ahead, 1, 2)
	synctest.Wait()
	behind.Pause()
	ids = publish(t, ahead, 3, 5)
	synctest.Wait()
	return lagging, behind, ids
}

func TestAClientThatHopsToABrokerThatLagsIsSentNothingTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lagging, behind, ids := newLagging(t)
		sub := resume(t, lagging, ids[1])
		s := connect(t, lagging, ids[1])
		assert.Equal(t, "", s.news())
		time.Sleep(15 * time.Second)
		assert.Equal(t, ":\n\n", s.news(), "a heartbeat does not set the cursor back")

		behind.Resume()
		synctest.Wait()
		got, err := pending(t, sub)
		require.NoError(t, err)
		assert.Contains(t, [][]string{{"5"}}, got)
		assert.Equal(t, block(ids[2], "5"), s.news())
		publish(t, lagging, 6, 6)
		assert.Equal(t, []string{"6"}, take(t, sub, 1))
	})
}

func TestALostCursorIsNotSetBackByABrokerThatLags(t *testing.T) {
	for _, held := range []int{2, 0} {
		synctest.Test(t, func(t *testing.T) {
			log := storetest.NewLog()
			behind := log.View()
			ahead, lagging := newBroker(t, &broker.Options{Store: log.View()}), newBroker(t, &broker.Options{Store: behind})
			publish(t, ahead, 1, 3)
			synctest.Wait()
			behind.Pause()
			ids := publish(t, ahead, 4, 10)
			log.Trim(10 - held)
			sub, s := resume(t, lagging, ids[2]), connect(t, lagging, ids[2])
			want, last := []string{"gap:"}, "id: "+ids[6]+"\n\n"
			if held > 0 {
				want, last = append(want, "9", "10"), block(ids[5], "9")+block(ids[6], "10")
			}
			assert.Equal(t, "event: gap\ndata: \n\n"+last, s.news())
			got, err := pending(t, sub)
			require.NoError(t, err)
			assert.Equal(t, want, got)

			behind.Resume()
			publish(t, ahead, 11, 12)
			got, err = pending(t, sub)
			require.NoError(t, err)
			assert.Equal(t, []string{"gap:", "11", "12"}, got, "the gap is that of the Broker, which missed some as well")
			assert.Equal(t, "event: gap\ndata: \n\n", strings.SplitAfter(s.news(), "\n\n")[0])
		})
	}
}

func TestWhileTheEngineIsAwaySubscribersStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := storetest.NewLog()
		view := log.View()
		b := newBroker(t, &broker.Options{Store: view})
		sub, s := subscribe(t, b), connect(t, b, "")
		publish(t, b, 1, 1)
		assert.Equal(t, []string{"1"}, take(t, sub, 1))
		s.news()

		away := errors.New("away")
		view.SetErr(away)
		_, err := b.Publish(t.Context(), sse.Event{Data: "lost"})
		require.ErrorIs(t, err, away)
		for i := 2; i <= 4; i++ { // by another process
			_, err := log.Append(t.Context(), sse.Event{Data: numbers(i, i)[0]}, []string{""})
			require.NoError(t, err)
		}
		time.Sleep(time.Minute)
		assert.Equal(t, strings.Repeat(":\n\n", 4), s.news())
		view.SetErr(nil)
		assert.Equal(t, numbers(2, 4), take(t, sub, 3))
		assert.Equal(t, 3, strings.Count(s.news(), "data: "))
	})
}

func TestAnEventOfUnknownFateIsDeliveredOnceAfterARetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := storetest.NewLog()
		view := log.View()
		b := newBroker(t, &broker.Options{Store: view})
		sub := subscribe(t, b)
		lost := errors.New("the answer got lost")
		view.LoseReplies(lost)
		_, err := b.Publish(t.Context(), sse.Event{ID: "mine", Data: "1"})
		require.ErrorIs(t, err, lost)
		view.LoseReplies(nil)
		_, err = b.Publish(t.Context(), sse.Event{ID: "mine", Data: "1"})
		require.ErrorIs(t, err, broker.ErrDuplicate)
		got, err := pending(t, sub)
		require.NoError(t, err)
		assert.Equal(t, []string{"1"}, got)
	})
}

func TestWhatWasTrimmedWhileTheEngineWasAwayIsAGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := storetest.NewLog()
		view := log.View()
		b := newBroker(t, &broker.Options{Store: view})
		sub, quiet, both := subscribe(t, b), subscribe(t, b, "quiet"), subscribe(t, b, "", "quiet")
		none := subscribe(t, b, "quiet")
		none.Remove("quiet")
		id := publish(t, b, 1, 1)[0]
		assert.Equal(t, []string{"1"}, take(t, sub, 1))
		assert.Equal(t, []string{"1"}, take(t, both, 1))

		view.SetErr(errors.New("away"))
		synctest.Wait()
		for i := 2; i <= 9; i++ {
			_, err := log.Append(t.Context(), sse.Event{Data: numbers(i, i)[0]}, []string{""})
			require.NoError(t, err)
		}
		log.Trim(6)
		back := resume(t, b, id) // target: an ID from before the gap
		view.SetErr(nil)
		want := slices.Concat([]string{"gap:"}, numbers(7, 9))
		assert.Equal(t, want, take(t, sub, 4))
		assert.Equal(t, want, take(t, both, 4))
		assert.Equal(t, want, take(t, back, 4))
		assert.Equal(t, []string{"gap:"}, take(t, quiet, 1))
		nothing, err := pending(t, none)
		assert.NoError(t, err)
		assert.Empty(t, nothing, "without topics nothing is missing")
		late := resume(t, b, id)
		assert.Equal(t, want, take(t, late, 4))
		publish(t, b, 10, 10)
		assert.Equal(t, []string{"10"}, take(t, sub, 1))
		assert.Equal(t, []string{"10"}, take(t, back, 1))
	})
}

func TestShutdownOnAFollowerServesWhatWasPublishedHere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := storetest.NewLog()
		view := log.View()
		b := newBroker(t, &broker.Options{Store: view})
		s := connect(t, b, "")
		s.news()
		view.Pause()
		publish(t, b, 1, 3)
		time.AfterFunc(time.Second, view.Resume)
		require.NoError(t, b.Shutdown(t.Context()))
		require.NoError(t, s.Wait())
		assert.Equal(t, 3, strings.Count(s.Body(), "data: "))

		// It does not wait for ever.
		b = newBroker(t, &broker.Options{Store: view})
		subscribe(t, b)
		synctest.Wait()
		view.Pause()
		publish(t, b, 4, 4)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		assert.ErrorIs(t, b.Shutdown(ctx), context.DeadlineExceeded)
	})
}

func TestAnEventThatCannotBeEncodedIsLeftOutLiveAndOfAReplay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := storetest.NewLog()
		one := newBroker(t, &broker.Options{Store: log})
		live := connect(t, one, "")
		live.news() // until it is registered
		first := publish(t, one, 1, 1)[0]
		_, err := log.Append(t.Context(), sse.Event{Type: "two\nlines"}, []string{""}) // by another program
		require.NoError(t, err)
		last := publish(t, one, 2, 2)[0]
		synctest.Wait()
		assert.Equal(t, block(first, "1")+block(last, "2"), live.news())
		assert.Equal(t, block(last, "2"), connect(t, one, first).news(), "from memory")
		two := newBroker(t, &broker.Options{Store: log})
		assert.Equal(t, block(last, "2"), connect(t, two, first).news(), "from the engine")
	})
}
