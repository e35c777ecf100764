package natsstore_test

import (
	"context"
	"encoding/json"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/broker/natsstore"
	"github.com/fanfare-go/fanfare/sse"
)

// ranged returns the data of the events that q asks for, and the error at the end.
func ranged(ctx context.Context, s *natsstore.Store, q broker.Query) (got []string, end error) {
	for ev, err := range s.Range(ctx, q) {
		if err != nil {
			return got, err
		}
		got = append(got, ev.Data)
	}
	return got, nil
}

// backup returns a copy of what the engine has on its disk.
func (e *engine) backup() (dir string) {
	e.t.Helper()
	e.stop()
	dir = e.t.TempDir()
	require.NoError(e.t, os.CopyFS(dir, os.DirFS(e.options.StoreDir)))
	e.start()
	return dir
}

// restore brings the engine back with another disk.
func (e *engine) restore(dir string) {
	e.t.Helper()
	e.stop()
	e.options.StoreDir = dir
	e.start()
}

// awaitEngine waits until s reaches its engine.
func awaitEngine(t *testing.T, s *natsstore.Store) {
	t.Helper()
	require.True(t, waitFor(10*time.Second, func() bool { _, err := s.Last(t.Context()); return err == nil }))
}

func TestAnEventThatWasLostOnTheWayIsDeliveredWithoutAnother(t *testing.T) {
	t.Parallel()
	e, name := startEngine(t), newName()
	p := newProxy(t, e.addr())
	b := newBroker(t, open(t, connect(t, p.url()), natsstore.Options{Name: name}))
	s := open(t, connect(t, e.url()), natsstore.Options{Name: name})
	sub := resume(t, b, add(t, s, "0")[0])
	add(t, s, "1")
	assert.Equal(t, []string{"1"}, take(t, sub, 1))

	p.loses.Store(true)
	add(t, s, "2")
	require.True(t, waitFor(2*time.Second, func() bool { return p.lost.Load() > 0 }))
	p.cut()
	p.loses.Store(false)
	p.mend()
	began := time.Now()
	assert.Equal(t, []string{"2"}, take(t, sub, 1))
	assert.Less(t, time.Since(began), 10*time.Second)
}

func TestShutdownGetsAnEventThatWasLostOnTheWay(t *testing.T) {
	t.Parallel()
	e, name := startEngine(t), newName()
	p := newProxy(t, e.addr())
	b := newBroker(t, open(t, connect(t, p.url()), natsstore.Options{Name: name}))
	sub := resume(t, b, "")
	publish(t, b, 1, 1)
	assert.Equal(t, []string{"1"}, take(t, sub, 1))

	p.loses.Store(true)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := b.Publish(ctx, sse.Event{ID: "number-2", Data: "2"}, "a")
	require.Error(t, err, "the answer is lost as well")
	p.cut()
	p.loses.Store(false)
	p.mend()
	publish(t, b, 2, 2) // which is stored already
	ctx, cancel = context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	assert.NoError(t, b.Shutdown(ctx))
}

func TestAnEventThatTakesLongOnItsWayIsDelivered(t *testing.T) {
	t.Parallel()
	e, name := startEngine(t), newName()
	p := newSlowProxy(t, e.addr(), 700_000)
	b := newBroker(t, open(t, connect(t, p.url()), natsstore.Options{Name: name}))
	s := open(t, connect(t, e.url()), natsstore.Options{Name: name})
	sub := resume(t, b, add(t, s, "0")[0])
	large := strings.Repeat("x", 1900<<10) // 2.8 s, during which no heartbeat comes through
	add(t, s, "1", large, "3")
	began := time.Now()
	assert.Equal(t, []string{"1", large, "3"}, take(t, sub, 3))
	assert.Less(t, time.Since(began), 20*time.Second)
}

func TestAReplayThatTakesLongerThanARequestMayGetsOn(t *testing.T) {
	t.Parallel()
	e, name := startEngine(t), newName()
	s := open(t, connect(t, e.url()), natsstore.Options{Name: name})
	id := add(t, s, "0")[0]
	large := strings.Repeat("x", 512<<10)
	want := []string{large, large, large, large, large, large, large, large}
	add(t, s, want...)
	p := newSlowProxy(t, e.addr(), 1<<20) // 4 s for all of them; a request of connect's may take 2 s
	got, err := ranged(t.Context(), open(t, connect(t, p.url()), natsstore.Options{Name: name}), broker.Query{After: id})
	require.NoError(t, err)
	assert.Equal(t, len(want), len(got))
}

func TestAStreamThatIsSetBackIsAGapForWhoFollowsIt(t *testing.T) {
	t.Parallel()
	e, name := startEngine(t), newName()
	s := open(t, connect(t, e.url()), natsstore.Options{Name: name})
	b := newBroker(t, s)
	sub := resume(t, b, "")
	publish(t, b, 1, 3)
	older := e.backup()
	ids := publish(t, b, 4, 40)
	assert.Equal(t, numbers(1, 40), take(t, sub, 40))
	e.restore(older)
	awaitEngine(t, s)
	assert.Equal(t, []string{"gap:"}, take(t, sub, 1), "before anything is published")
	publish(t, b, 41, 60)
	assert.Equal(t, numbers(41, 60), take(t, sub, 20))
	got, err := ranged(t.Context(), s, broker.Query{After: ids[30]})
	assert.Equal(t, broker.ErrGap, err, "%v", got)
}

func TestAStreamThatWasMadeEarlierIsAGapForWhoFollowsTheOther(t *testing.T) {
	t.Parallel()
	e, name := startEngine(t), newName()
	older := e.options.StoreDir
	open(t, connect(t, e.url()), natsstore.Options{Name: name})
	e.restore(t.TempDir())
	s := open(t, connect(t, e.url()), natsstore.Options{Name: name})
	b := newBroker(t, s)
	sub := resume(t, b, "")
	publish(t, b, 1, 3)
	assert.Equal(t, numbers(1, 3), take(t, sub, 3))
	e.restore(older)
	awaitEngine(t, s)
	assert.Equal(t, []string{"gap:"}, take(t, sub, 1))
	publish(t, b, 4, 10)
	assert.Equal(t, numbers(4, 10), take(t, sub, 7))
}

func TestARangeWhoseStreamIsSetBackMeanwhileEnds(t *testing.T) {
	t.Parallel()
	e, name := startEngine(t), newName()
	s := open(t, connect(t, e.url()), natsstore.Options{Name: name, PageSize: 1})
	ids := add(t, s, "1", "2", "3")
	older := e.backup()
	awaitEngine(t, s)
	ids = append(ids, add(t, s, "4", "5")...)
	var got []string
	var end error
	for ev, err := range s.Range(t.Context(), broker.Query{After: ids[0]}) {
		if err != nil {
			end = err
		} else if got = append(got, ev.Data); len(got) == 1 {
			e.restore(older)
			awaitEngine(t, s)
		}
	}
	assert.Equal(t, []string{"2", "3"}, got)
	assert.Equal(t, broker.ErrGap, end)

	// And so does one that is told to go through what is lost.
	for _, newest := range []int{0, 10} {
		_, end = ranged(t.Context(), s, broker.Query{After: ids[0], Through: ids[4], Newest: newest})
		assert.Equal(t, broker.ErrGap, end)
		got, end = ranged(t.Context(), s, broker.Query{Through: ids[4], Newest: newest})
		require.NoError(t, end)
		assert.Equal(t, []string{"1", "2", "3"}, got)
	}
}

// relayed returns a JetStream whose requests to the engine go through hook, which
// may change the data and say that there is no such message.
func relayed(t *testing.T, e *engine, hook func(subject string, data []byte) (_ []byte, missing bool)) jetstream.JetStream {
	relay := connect(t, e.url()).Conn()
	sub, err := relay.Subscribe("RELAY.API.>", func(m *nats.Msg) {
		subject := "$JS" + strings.TrimPrefix(m.Subject, "RELAY")
		data, missing := hook(subject, m.Data)
		if missing {
			answer := nats.NewMsg(m.Reply)
			answer.Header.Set("Status", "404")
			_ = relay.PublishMsg(answer)
			return
		}
		_ = relay.PublishRequest(subject, m.Reply, data)
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = sub.Unsubscribe() })
	require.NoError(t, relay.Flush())
	js, err := jetstream.NewWithAPIPrefix(connect(t, e.url()).Conn(), "RELAY.API")
	require.NoError(t, err)
	return js
}

func TestAReplicaThatLagsForLongIsAnErrorAndNoHole(t *testing.T) {
	t.Parallel()
	e, name := startEngine(t), newName()
	var lags atomic.Bool
	js := relayed(t, e, func(subject string, data []byte) ([]byte, bool) {
		if !lags.Load() || !strings.Contains(subject, ".DIRECT.GET.") {
			return data, false
		}
		var request map[string]uint64 // answered by one that has the first ten
		_ = json.Unmarshal(data, &request)
		if request["seq"] > 10 {
			return nil, true
		}
		request["batch"] = min(request["batch"], 11-request["seq"])
		data, _ = json.Marshal(request)
		return data, false
	})
	s := open(t, js, natsstore.Options{Name: name})
	add(t, s, numbers(1, 20)...)
	lags.Store(true)
	got, err := ranged(t.Context(), s, broker.Query{})
	assert.Equal(t, numbers(1, 10), got)
	assert.ErrorContains(t, err, "replica")
	assert.NotErrorIs(t, err, broker.ErrGap)
}

func TestANewestEventThatWasDeletedByHandIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	e, name := startEngine(t), newName()
	s := open(t, connect(t, e.url()), natsstore.Options{Name: name})
	ids := add(t, s, "1", "2")
	e.remove(name, ids[1])
	began := time.Now()
	got, err := ranged(t.Context(), s, broker.Query{})
	require.NoError(t, err)
	assert.Equal(t, []string{"1"}, got)
	assert.Less(t, time.Since(began), time.Second)
}

func TestWhatIsLostIsWaitedForOnceAtMost(t *testing.T) {
	t.Parallel()
	e, name := startEngine(t), newName()
	s := open(t, connect(t, e.url()), natsstore.Options{Name: name, PageSize: 2})
	add(t, s, "1", "2", "3")
	older := e.backup()
	awaitEngine(t, s)
	ids := add(t, s, numbers(4, 23)...)
	e.restore(older)
	awaitEngine(t, s) // 2 s
	began := time.Now()
	got, err := ranged(t.Context(), s, broker.Query{Through: ids[len(ids)-1], Newest: 5})
	require.NoError(t, err)
	assert.Equal(t, numbers(1, 3), got)
	_, err = s.Last(t.Context())
	require.NoError(t, err)
	assert.Less(t, time.Since(began), 2*time.Second)
}

func TestAFollowerThatIsIdleTellsNoGapForWhatItHas(t *testing.T) {
	t.Parallel()
	e, name := startEngine(t), newName()
	js := connect(t, e.url())
	b := newBroker(t, open(t, js, natsstore.Options{Name: name, MaxAge: time.Second}))
	sub := resume(t, b, "")
	time.Sleep(6 * time.Second) // there is nothing
	publish(t, b, 1, 3)
	assert.Equal(t, numbers(1, 3), take(t, sub, 3))
	e.addForeign(name)
	time.Sleep(7 * time.Second) // and all goes
	publish(t, b, 4, 5)
	assert.Equal(t, numbers(4, 5), take(t, sub, 2))
	assert.Zero(t, b.Stats().Gaps)
}
