package broker_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/broker/storetest"
	"github.com/fanfare-go/fanfare/sse"
)

// A scene is a Broker with one subscription, for which one event is queued.
type scene struct {
	t   *testing.T
	ctx context.Context // until the end
	b   *broker.Broker
	sub *broker.Subscription
	id  string // of the event
}

// An act is a call of one method, and what it says at the end of the scene.
type act struct {
	name string
	play func(sc *scene) (outcome string)
}

func says(err error) string {
	switch err {
	case nil:
		return "done"
	case context.Canceled:
		return "open" // to the end of the scene
	case broker.ErrClosed:
		return "closed"
	}
	return err.Error()
}

// listen says which events of sub there are until the end.
func (sc *scene) listen(sub *broker.Subscription, err error) string {
	if err != nil {
		return says(err)
	}
	var words []string
	for ev, err := range sub.Events(sc.ctx) {
		if err != nil {
			words = append(words, says(err))
			break
		}
		words = append(words, show(ev))
	}
	return strings.Join(words, " ")
}

var acts = []act{
	{"Publish", func(sc *scene) string {
		_, err := sc.b.Publish(sc.ctx, sse.Event{Data: "2"})
		return says(err)
	}},
	{"Subscribe", func(sc *scene) string { return sc.listen(sc.b.Subscribe("other")) }},
	{"Resume", func(sc *scene) string { return sc.listen(sc.b.Resume("lost", "other")) }},
	{"Events", func(sc *scene) string { return sc.listen(sc.sub, nil) }},
	{"Subscription.Close", func(sc *scene) string { sc.sub.Close(); return "done" }},
	{"ServeHTTP", func(sc *scene) string {
		s := connect(sc.t, sc.b.Handler("other"), "")
		s.Code()
		<-sc.ctx.Done()
		if strings.HasPrefix(s.Body(), "retry: ") {
			return "sent away"
		}
		return "streams"
	}},
	{"Stats", func(sc *scene) string {
		if n := sc.b.Stats().Published; n < 1 || n > 2 {
			return fmt.Sprint(n, " published")
		}
		return "done"
	}},
	{"Shutdown", func(sc *scene) string { return says(sc.b.Shutdown(context.Background())) }},
	{"Close", func(sc *scene) string { return says(sc.b.Close()) }},
}

// outcomes says what two acts are to say when they are played one after the
// other. An act that has not ended when the next begins goes on beside it.
func outcomes(first, second string) (string, string) {
	ends := map[string]bool{"Shutdown": true, "Close": true}
	say := func(name, before, after string) string {
		end := "open"
		if ends[before] || ends[after] {
			end = "closed"
		}
		switch name {
		case "Publish":
			if ends[before] {
				return "closed"
			}
		case "Subscribe":
			return end
		case "Resume":
			if ends[before] {
				return "closed"
			}
			return "gap: " + end
		case "Events":
			switch {
			case before == "Close" || before == "Subscription.Close":
				return "closed"
			case before == "Events":
				return "broker: Events of one Subscription called concurrently"
			case after == "Subscription.Close":
				end = "closed"
			}
			if before == "Publish" || after == "Publish" {
				return "1 2 " + end
			}
			return "1 " + end
		case "ServeHTTP":
			if ends[before] {
				return "sent away"
			}
			return "streams"
		}
		return "done"
	}
	return say(first, "", second), say(second, first, "")
}

// play plays two acts, and says what they say. Gap by gap, everybody who can
// do something has done it before the next begins, if they are not to begin at
// once.
func play(t *testing.T, store broker.Store, first, second act, together bool) (one, two string) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	b := broker.New(&broker.Options{Store: store, Heartbeat: -1})
	sub, err := b.Subscribe()
	require.NoError(t, err)
	sc := &scene{t: t, ctx: ctx, b: b, sub: sub, id: publish(t, b, 1, 1)[0]}
	synctest.Wait()

	var playing sync.WaitGroup
	playing.Go(func() { one = first.play(sc) })
	if !together {
		synctest.Wait()
	}
	playing.Go(func() { two = second.play(sc) })
	synctest.Wait()
	cancel()
	playing.Wait()
	require.NoError(t, b.Close())
	return one, two
}

func stores() map[string]func() broker.Store {
	return map[string]func() broker.Store{
		"memory":   func() broker.Store { return broker.NewMemoryStore(&broker.MemoryOptions{MaxEvents: -1}) },
		"follower": func() broker.Store { return storetest.NewLog() },
	}
}

func TestAnyTwoCallsInAnyOrderHaveADefinedOutcome(t *testing.T) {
	for name, store := range stores() {
		for _, first := range acts {
			for _, second := range acts {
				t.Run(fmt.Sprintf("%s/%s, then %s", name, first.name, second.name), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						one, two := play(t, store(), first, second, false)
						wantOne, wantTwo := outcomes(first.name, second.name)
						assert.Equal(t, []string{wantOne, wantTwo}, []string{one, two})
					})
				})
			}
		}
	}
}

func TestAnyTwoCallsAtOnceHaveTheOutcomeOfOneOfTheirOrders(t *testing.T) {
	for name, store := range stores() {
		for i, first := range acts {
			for _, second := range acts[i:] {
				t.Run(fmt.Sprintf("%s/%s and %s", name, first.name, second.name), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						one, two := outcomes(first.name, second.name)
						secondFirst, firstSecond := outcomes(second.name, first.name)
						orders := [][]string{{one, two}, {firstSecond, secondFirst}}
						for range 20 {
							one, two := play(t, store(), first, second, true)
							require.Contains(t, orders, []string{one, two})
						}
					})
				})
			}
		}
	}
}

func TestEverythingAtOnceEndsAndLosesNothing(t *testing.T) {
	for name, store := range stores() {
		for round := range 4 {
			t.Run(fmt.Sprint(name, " ", round), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { everythingAtOnce(t, store(), round%2 == 0) })
			})
		}
	}
}

// everythingAtOnce calls every method of a Broker from many goroutines until
// it is shut down, or closed.
func everythingAtOnce(t *testing.T, store broker.Store, inOrder bool) {
	b := broker.New(&broker.Options{Store: store, QueueSize: 4, Heartbeat: -1})
	var work sync.WaitGroup
	var mu sync.Mutex // guards took
	var took []published
	heard := make([][]string, 8)
	for r := range heard {
		sub := subscribe(t, b)
		work.Go(func() {
			for ev, err := range sub.Events(t.Context()) {
				if err != nil {
					assert.Equal(t, broker.ErrClosed, err)
					return
				}
				heard[r] = append(heard[r], ev.Data)
			}
		})
	}
	for p := range 4 {
		work.Go(func() {
			for i := 0; ; i++ {
				data := fmt.Sprint(p, "-", i)
				id, err := b.Publish(t.Context(), sse.Event{Data: data})
				if err != nil {
					assert.Equal(t, broker.ErrClosed, err)
					return
				}
				mu.Lock()
				took = append(took, published{id: id, data: data})
				mu.Unlock()
			}
		})
	}
	for r := range 8 {
		work.Go(func() { // come and go
			for i := 0; ; i++ {
				cursor := []string{"", "lost"}[r%2]
				sub, err := b.Resume(cursor, "", fmt.Sprint(i))
				if err != nil {
					assert.Equal(t, broker.ErrClosed, err)
					return
				}
				closing := make(chan struct{})
				go func() { sub.Close(); close(closing) }()
				_, end := pendingNow(sub)
				assert.Equal(t, broker.ErrClosed, end)
				<-closing
				b.Stats()
			}
		})
		work.Go(func() {
			for {
				s := connect(t, b, "")
				s.Code()
				s.Close()
				if strings.HasPrefix(s.Body(), "retry: ") {
					return
				}
			}
		})
	}
	for b.Stats().Delivered < 1_000 {
		b.Stats()
	}
	for range 3 {
		work.Go(func() {
			if inOrder {
				assert.NoError(t, b.Shutdown(context.Background()))
			} else {
				assert.NoError(t, b.Close())
			}
		})
	}
	work.Wait()
	require.NoError(t, b.Close())
	assert.Equal(t, 0, b.Stats().Subscribers)
	slices.SortFunc(took, func(a, b published) int { return number(a.id) - number(b.id) })
	var order []string
	for _, ev := range took {
		order = append(order, ev.data)
	}
	for _, got := range heard {
		want := order
		if !inOrder {
			want = order[:min(len(got), len(order))]
		}
		require.True(t, slices.Equal(want, got), "%d events are not %d of %d", len(got), len(want), len(order))
	}
}

// Whoever subscribes while events are published gets the events up to a point
// from the Store, and the others from its queue. Around that point none may be
// missing, and none be in both.
func TestWhoComesBackAllTheTimeMissesNothing(t *testing.T) {
	for name, store := range stores() {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const last = 10_000
				b := newBroker(t, &broker.Options{Store: store()})
				first := publish(t, b, 0, 0)[0]
				var reading sync.WaitGroup
				for r := range 4 {
					reading.Go(func() {
						for at := first; number(at) < last; {
							sub, err := b.Resume(at)
							if !assert.NoError(t, err) {
								return
							}
							n := 0
							for ev, err := range sub.Events(t.Context()) {
								if err != nil || number(ev.ID) != number(at)+1 {
									t.Errorf("%v %s after %s", err, ev.ID, at)
									return
								}
								at = ev.ID
								if n++; n > r || number(at) == last {
									break
								}
							}
							sub.Close()
						}
					})
				}
				publish(t, b, 1, last-1)
				reading.Wait()
			})
		})
	}
}
