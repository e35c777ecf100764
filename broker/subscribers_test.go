package broker_test

import (
	"bytes"
	"cmp"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/sse"
	"github.com/fanfare-go/fanfare/sse/ssetest"
)

// subscribers returns what Subscribers does, in an order.
func subscribers(b *broker.Broker) []broker.Subscriber {
	synctest.Wait()
	all := b.Subscribers()
	slices.SortFunc(all, func(x, y broker.Subscriber) int {
		return cmp.Or(strings.Compare(x.Remote, y.Remote), slices.Compare(x.Topics, y.Topics))
	})
	return all
}

func TestSubscribersTellsWhoIsThereAndWhoIsSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &broker.Options{Topics: broker.AnyQueryTopic("t"), QueueSize: 4, Slow: broker.DropOldest})
		assert.Empty(t, b.Subscribers())
		began := time.Now()
		slow := subscribe(t, b, "a", "b")
		take(t, slow, 0)
		time.Sleep(time.Second)
		ssetest.Record(t, b, ssetest.NewRequest("/?t=a", ""))
		synctest.Wait()
		publish(t, b, 1, 1, "a")
		synctest.Wait()
		time.Sleep(time.Second)
		publish(t, b, 2, 6, "b")
		size := len(block(publish(t, b, 7, 7, "b")[0], "7"))
		time.Sleep(time.Second)
		assert.Equal(t, []broker.Subscriber{
			{Topics: []string{"a", "b"}, Since: began, Queued: 4, QueuedBytes: 4 * size, Dropped: 3,
				Lag: 3 * time.Second, CatchingUp: true}, // nobody has ranged over it yet
			{Remote: "192.0.2.1:1234", Caller: "192.0.2.1", Topics: []string{"a"}, Since: began.Add(time.Second), Delivered: 1},
		}, subscribers(b))

		got, err := pending(t, slow)
		require.NoError(t, err)
		assert.Equal(t, []string{"gap:", "4", "5", "6", "7"}, got)
		publish(t, b, 8, 8, "a")
		time.Sleep(time.Minute)
		all := subscribers(b)
		assert.Equal(t, broker.Subscriber{Topics: []string{"a", "b"}, Since: began, Queued: 1, QueuedBytes: size,
			Delivered: 4, Dropped: 3, Lag: time.Minute}, all[0])
		assert.Equal(t, uint64(2), all[1].Delivered)
		require.NoError(t, b.Close())
		assert.Empty(t, b.Subscribers())
	})
}

func TestASubscriberThatReadsTheStoreIsCatchingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &broker.Options{QueueSize: 2})
		sub := subscribe(t, b)
		in := make(chan struct{})
		go func() {
			for ev := range sub.Events(t.Context()) {
				if ev.Data != "" {
					<-in
				}
			}
		}()
		publish(t, b, 1, 9)
		time.Sleep(time.Second)
		s := subscribers(b)[0]
		assert.Equal(t, time.Second, s.Lag, "the queue is full")
		assert.False(t, s.CatchingUp)
		for range 4 {
			in <- struct{}{}
			synctest.Wait()
		}
		time.Sleep(time.Minute)
		s = subscribers(b)[0]
		assert.Equal(t, time.Minute, s.Lag)
		assert.True(t, s.CatchingUp)
		close(in)
		s = subscribers(b)[0]
		assert.Equal(t, uint64(9), s.Delivered)
		assert.Zero(t, s.Lag)
		assert.False(t, s.CatchingUp)
	})
}

func TestASubscriberThatDoesNotReadLags(t *testing.T) {
	for _, detach := range []bool{false, true} {
		b := newBroker(t, &broker.Options{Detach: detach, QueueSize: 4})
		srv := httptest.NewServer(b)
		_, resp := open(t, srv.URL, "")
		lag := func() time.Duration {
			if all := b.Subscribers(); len(all) > 0 {
				return all[0].Lag
			}
			return 0
		}
		assert.Eventually(t, func() bool { return lag() == 0 && b.Subscribers()[0].Remote != "" }, 5*time.Second, time.Millisecond)
		_, err := b.Publish(t.Context(), sse.Event{Data: strings.Repeat("x", 12<<20)}) // more than sockets hold
		require.NoError(t, err)
		assert.Eventually(t, func() bool { return lag() > 50*time.Millisecond }, 5*time.Second, time.Millisecond)
		resp.Body.Close()
		require.NoError(t, b.Close())
		srv.Close()
	}
}

func TestCountIsForOneTopic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, nil)
		counts := func() []int { return []int{b.Count("a"), b.Count("b"), b.Count("")} }
		assert.Equal(t, []int{0, 0, 0}, counts())
		both := subscribe(t, b, "a", "b")
		for range 10 {
			subscribe(t, b, "a")
		}
		s := connect(t, b, "")
		s.news()
		assert.Equal(t, []int{11, 1, 1}, counts())
		both.Close()
		s.Close()
		assert.Equal(t, []int{10, 0, 0}, counts())
	})
}

func TestStatsCountTheBytesOfStreams(t *testing.T) {
	for _, detach := range []bool{false, true} {
		b := newBroker(t, &broker.Options{Detach: detach, Retry: 2 * time.Second})
		srv := httptest.NewServer(b)
		defer srv.Close()
		d, resp := open(t, srv.URL, "")
		for i := range 9 {
			publish(t, b, i, i)
			_, err := d.Decode()
			require.NoError(t, err)
		}
		require.NoError(t, b.Shutdown(t.Context()))
		_, err := io.Copy(io.Discard, resp.Body)
		require.NoError(t, err)
		id := publishedID(t, 1)
		want := 9*len(block(id, "1")) + len("id: \n\n") + len(id) + 2*len("retry: 2000\n\n")
		assert.Equal(t, want, int(b.Stats().Bytes), "detach=%t", detach)
	}
}

// publishedID returns an ID of the length of any.
func publishedID(t *testing.T, i int) string {
	return publish(t, newBroker(t, nil), i, i)[0]
}

// A faulty handler of records fails.
type faulty struct {
	slog.Handler
	fail func()
}

func (faulty) Enabled(context.Context, slog.Level) bool    { return true }
func (f faulty) Handle(context.Context, slog.Record) error { f.fail(); return nil }

func TestALoggerThatFailsLeavesNoSubscriber(t *testing.T) {
	for name, fail := range map[string]func(){
		"panic":  func() { panic("no place for records") },
		"Goexit": runtime.Goexit,
	} {
		synctest.Test(t, func(t *testing.T) {
			calls := 0
			b := newBroker(t, &broker.Options{Logger: slog.New(faulty{slog.DiscardHandler, func() {
				if calls++; calls > 100 {
					select {} // or it would never end
				}
				fail()
			}})})
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				defer func() { recover() }()
				b.ServeHTTP(httptest.NewRecorder(), get(t, "/"))
			}()
			<-ended
			synctest.Wait()
			assert.Equal(t, 0, b.Stats().Subscribers, name)
			assert.NoError(t, b.Shutdown(t.Context()), name)
		})
	}
}

// records is a place for records, without their times.
type records struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *records) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *records) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *records) logger(level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: level, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
}

func TestTheLogTellsWhenAndWhyStreamsEnd(t *testing.T) {
	const of = `remote=192.0.2.1:1234 topics="[a b]" `
	for name, test := range map[string]struct {
		end  func(b *broker.Broker, s *ssetest.Recorder)
		want string
	}{
		"client":   {func(_ *broker.Broker, s *ssetest.Recorder) { s.Close() }, "the client is gone"},
		"close":    {func(b *broker.Broker, _ *ssetest.Recorder) { b.Close() }, "the broker is closed"},
		"shutdown": {func(b *broker.Broker, _ *ssetest.Recorder) { b.Shutdown(context.Background()) }, "the broker shuts down"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var l records
				b := newBroker(t, &broker.Options{Logger: l.logger(slog.LevelDebug), Store: namedStore(nil)})
				time.Sleep(10 * time.Second)
				s := ssetest.Record(t, b.Handler("a", "b"), ssetest.NewRequest("/", "0"))
				synctest.Wait()
				publish(t, b, 1, 1, "a")
				time.Sleep(50 * time.Second)
				test.end(b, s)
				synctest.Wait()
				assert.Equal(t, "level=DEBUG msg=\"broker: stream begins\" "+of+"after=0\n"+
					"level=DEBUG msg=\"broker: stream ends\" "+of+"reason=\""+test.want+"\" lasted=50s delivered=1\n", l.String())
			})
		})
	}
}

func TestTheLogTellsWhoIsSlowOnce(t *testing.T) {
	for name, test := range map[string]struct {
		policy broker.SlowPolicy
		want   string
	}{
		"CatchUp":    {broker.CatchUp, "it catches up"},
		"Disconnect": {broker.Disconnect, "it is disconnected"},
		"DropOldest": {broker.DropOldest, "events were dropped"},
		"DropNewest": {broker.DropNewest, "events were dropped"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var l records
				b := newBroker(t, &broker.Options{Logger: l.logger(slog.LevelInfo), Slow: test.policy, QueueSize: 1})
				sub := subscribe(t, b)
				for range 3 {
					publish(t, b, 1, 9)
					synctest.Wait()
					pending(t, sub)
				}
				assert.Equal(t, "level=INFO msg=\"broker: subscriber is slow\" remote=\"\" topics=[] then=\""+
					test.want+"\" delivered="+map[bool]string{true: "0", false: "1"}[test.policy == broker.DropOldest]+"\n", l.String())
			})
		})
	}
}

func TestWhoIsThereCanBeAskedAtAnyTime(t *testing.T) {
	b := newBroker(t, &broker.Options{QueueSize: 2, Detach: true, Topics: broker.AnyQueryTopic("t")})
	srv := httptest.NewServer(b)
	defer srv.Close()
	var all sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	busy := func(f func()) {
		all.Go(func() {
			for ctx.Err() == nil {
				f()
			}
		})
	}
	busy(func() { publish(t, b, 1, 1, "a", "b") })
	busy(func() {
		sub, err := b.Subscribe("a")
		if assert.NoError(t, err) {
			for range sub.Events(ctx) {
				break
			}
			sub.Close()
		}
	})
	busy(func() {
		resp, err := http.Get(srv.URL + "/?t=b")
		if assert.NoError(t, err) {
			_, err = resp.Body.Read(make([]byte, 100))
			assert.NoError(t, err)
			resp.Body.Close()
		}
	})
	for range 200 {
		for _, s := range b.Subscribers() {
			assert.Contains(t, []string{"a", "b"}, s.Topics[0])
			assert.LessOrEqual(t, s.Queued, 2+2+2, "queued, in hand, and about to be queued")
			assert.GreaterOrEqual(t, s.Lag, time.Duration(0))
		}
	}
	stop()
	all.Wait()
}

// Its write fails as well, but that is not why.
func TestTheLogTellsThatAClientHasGoneWhileItWasWrittenTo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l records
		b := newShard(t, &broker.Options{Logger: l.logger(slog.LevelDebug), Store: broker.Discard, WriteTimeout: time.Hour})
		p := newPeer(t, b, "")
		free := p.stick()
		publish(t, b, 1, 3)
		synctest.Wait()
		go p.Close()
		synctest.Wait()
		free()
		assert.Regexp(t, `reason="the client is gone" lasted=0s delivered=[123]\n$`, l.String())
	})
}
