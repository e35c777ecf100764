package broker_test

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/sse"
	"github.com/fanfare-go/fanfare/sse/ssetest"
)

func TestAStatusOfTopicsIsOneOfAnError(t *testing.T) {
	for code, want := range map[int]int{400: 400, 404: 404, 599: 599, 399: 500, 600: 500, 200: 500, 0: 500} {
		b := newBroker(t, &broker.Options{Topics: func(*http.Request) ([]string, error) {
			return nil, errors.Join(errors.New("refused"), &broker.StatusError{Code: code})
		}})
		w := httptest.NewRecorder()
		b.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		assert.Equal(t, want, w.Code, code)
	}
	reason := errors.New("the reason")
	err := &broker.StatusError{Code: 404, Err: reason}
	assert.ErrorIs(t, err, reason)
	assert.EqualError(t, err, "broker: 404 Not Found: the reason")
	assert.EqualError(t, &broker.StatusError{Code: 404}, "broker: 404 Not Found")
}

func TestThoseWhoAreToComeBackLaterDoNotComeBackTogether(t *testing.T) {
	b := newBroker(t, &broker.Options{MaxSubscribers: 1})
	subscribe(t, b)
	seen := map[string]bool{}
	for range 300 {
		w := httptest.NewRecorder()
		b.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
		seen[w.Header().Get("Retry-After")] = true
	}
	assert.Equal(t, map[string]bool{"1": true, "2": true, "3": true, "4": true, "5": true}, seen)
}

func TestAHundredTopicsAreAllowedAndRepetitionsDoNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &broker.Options{Topics: broker.AnyQueryTopic("t")})
		for n, want := range map[int]int{100: 200, 101: 400} {
			target := "/?t=1&t=" + strings.Join(numbers(1, n), "&t=")
			s := ssetest.Record(t, b, ssetest.NewRequest(target, ""))
			synctest.Wait()
			assert.Equal(t, want, s.Code())
		}
	})
}

func TestARequestWhoseTopicsAreAskedForAgainIsAnsweredOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b *broker.Broker
		asked := 0
		b = newBroker(t, &broker.Options{Compress: true, Topics: func(*http.Request) ([]string, error) {
			if asked++; asked < 4 {
				b.End(func(broker.Subscriber) bool { return false })
			}
			return nil, nil
		}})
		s := connect(t, b, "")
		synctest.Wait()
		assert.Equal(t, 2, asked)
		assert.Equal(t, 200, s.Code())
		assert.Equal(t, []string{"Accept-Encoding"}, s.Header().Values("Vary"))
	})
}

func TestHEADSaysWhatGETWouldOfCompression(t *testing.T) {
	for _, compress := range []bool{false, true} {
		b := newBroker(t, &broker.Options{Compress: compress})
		r := httptest.NewRequest("HEAD", "/", nil)
		r.Header.Set("Accept-Encoding", "gzip")
		w := httptest.NewRecorder()
		w.Header().Set("Vary", "Origin") // by some middleware
		b.ServeHTTP(w, r)
		assert.Equal(t, 200, w.Code)
		want := []string{"Origin"}
		if compress {
			want = append(want, "Accept-Encoding")
		}
		assert.Equal(t, want, w.Header().Values("Vary"))
		assert.Equal(t, map[bool]string{true: "gzip"}[compress], w.Header().Get("Content-Encoding"))

		w = httptest.NewRecorder()
		b.ServeHTTP(struct{ http.ResponseWriter }{w}, r) // which cannot flush
		assert.Equal(t, 500, w.Code)
		assert.Empty(t, w.Header().Get("Content-Encoding"))
	}
}

func TestABrokerThatHasEndedAnswersWhatCannotFlushWithAnError(t *testing.T) {
	b := newBroker(t, nil)
	require.NoError(t, b.Close())
	w := httptest.NewRecorder()
	b.ServeHTTP(struct{ http.ResponseWriter }{w}, httptest.NewRequest("GET", "/", nil))
	assert.Equal(t, 500, w.Code)
}

func TestThoseWhoAreSentAwayComeBackAfterTheRetryTimeOfTheOptions(t *testing.T) {
	for _, retry := range []time.Duration{0, time.Minute} {
		b := newBroker(t, &broker.Options{Retry: retry})
		require.NoError(t, b.Close())
		least := max(int(retry/time.Millisecond), 1000)
		seen := map[int]bool{}
		for range 300 {
			w := httptest.NewRecorder()
			b.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
			ms := -1
			_, err := fmt.Sscanf(w.Body.String(), "retry: %d\n\n", &ms)
			require.NoError(t, err)
			require.GreaterOrEqual(t, ms, least)
			require.LessOrEqual(t, ms, least+100)
			seen[ms] = true
		}
		assert.Greater(t, len(seen), 10)
	}
}

// deadlines is a ResponseWriter that says for how long a write may take.
type deadlines struct {
	http.ResponseWriter
	longest time.Duration
}

func (d *deadlines) Unwrap() http.ResponseWriter { return d.ResponseWriter }

func (d *deadlines) SetWriteDeadline(t time.Time) error {
	d.longest = max(d.longest, time.Until(t))
	return nil
}

func TestAWriteMayTakeTenSecondsUnlessTheOptionsSayOtherwise(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for timeout, want := range map[time.Duration]time.Duration{0: 10 * time.Second, time.Minute: time.Minute, -1: 0} {
			b := newBroker(t, &broker.Options{WriteTimeout: timeout})
			var d deadlines
			s := connect(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				d.ResponseWriter = w
				b.ServeHTTP(&d, r)
			}), "")
			publish(t, b, 1, 1)
			s.news()
			s.Close()
			require.NoError(t, s.Wait())
			assert.GreaterOrEqual(t, d.longest, want)
			assert.LessOrEqual(t, d.longest, want*3/2)
		}
	})
}

func TestAGapIsSentAsItIsButForItsID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for gap, want := range map[sse.Event]sse.Event{
			{ID: "x", Data: "lost"}:           {Data: "lost"},
			{ID: "x"}:                         {Type: "gap"},
			{Retry: time.Second}:              {Retry: time.Second},
			{ID: "x", Type: "gone", Data: ""}: {Type: "gone"},
		} {
			b := newBroker(t, &broker.Options{Gap: gap})
			for ev, err := range resume(t, b, "unknown").Events(t.Context()) {
				require.NoError(t, err)
				assert.Equal(t, want, ev)
				break
			}
		}
	})
}

func TestAStreamOfTheLeastAgeEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, age := range []time.Duration{1, 2, 10, 100, time.Microsecond} {
			b := newBroker(t, &broker.Options{MaxAge: age})
			s := connect(t, b, "")
			require.NoError(t, s.Wait())
			assert.Equal(t, 200, s.Code())
		}
	})
}

func TestOfMoreStreamsThanAreLookedAtAtOnceAllEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const many = 1_300
		b := newBroker(t, &broker.Options{MaxAge: time.Minute})
		for range many {
			connect(t, b, "")
		}
		synctest.Wait()
		publish(t, b, 1, 1)
		synctest.Wait()
		subs := make([]*broker.Subscription, many)
		for i := range subs {
			subs[i] = subscribe(t, b)
		}
		publish(t, b, 2, 2)
		queued, delivered := 0, 0
		for _, s := range subscribers(b) {
			queued += s.Queued
			delivered += int(s.Delivered)
		}
		assert.Equal(t, many, queued)
		assert.Equal(t, 2*many, delivered)
		time.Sleep(time.Minute)
		assert.Equal(t, many, b.Stats().Subscribers)
	})
}

func TestAfterShutdownItCanBeAskedWhatNobodyRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, nil)
		sub := subscribe(t, b)
		publish(t, b, 1, 3)
		require.NoError(t, b.Shutdown(t.Context()))
		time.Sleep(time.Second)
		all := b.Subscribers()
		require.Len(t, all, 1)
		assert.Equal(t, 3, all[0].Queued)
		assert.Equal(t, time.Second, all[0].Lag)
		assert.Equal(t, 1, b.End(func(broker.Subscriber) bool { return true }))
		_, err := pending(t, sub)
		assert.Equal(t, broker.ErrClosed, err)
		assert.Empty(t, b.Subscribers())
	})
}

func TestAWriteThatWaitsIsALag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &broker.Options{WriteTimeout: time.Hour, Heartbeat: -1})
		p := newPeer(t, b, "")
		free := p.stick()
		publish(t, b, 1, 1)
		time.Sleep(time.Minute)
		assert.Equal(t, time.Minute, subscribers(b)[0].Lag)
		publish(t, b, 2, 2)
		time.Sleep(time.Minute)
		assert.Equal(t, 2*time.Minute, subscribers(b)[0].Lag)
		free()
		assert.Zero(t, subscribers(b)[0].Lag)
	})
}

func TestStatsCountTheEventsOfStreams(t *testing.T) {
	for _, detach := range []bool{false, true} {
		b := newBroker(t, &broker.Options{Detach: detach})
		srv := loopback(t, b)
		d, _ := open(t, srv.URL, "")
		for i := range 50 { // one by one: most of them the shard writes
			publish(t, b, i, i)
			_, err := d.Decode()
			require.NoError(t, err)
		}
		require.NoError(t, b.Shutdown(t.Context()))
		assert.Equal(t, uint64(50), b.Stats().Delivered, "detach=%t", detach)
	}
}

func TestTheLogTellsOfAPanicThatHasNoHandler(t *testing.T) {
	var l records
	b := newBroker(t, &broker.Options{
		Detach: true, Logger: l.logger(slog.LevelInfo),
		Snapshot: func(*http.Request, []string) ([]sse.Event, error) { panic("oops") },
	})
	srv := loopback(t, b)
	resp, err := srv.Client().Get(srv.URL)
	require.NoError(t, err)
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body) // until the connection is closed, after that
	assert.Contains(t, l.String(), "level=ERROR msg=\"broker: callback panicked\" panic=oops stack=")
}

func TestTheLogTellsWhyAStreamEndsThatNobodyClosed(t *testing.T) {
	for name, test := range map[string]struct {
		opts broker.Options
		do   func(b *broker.Broker)
		want string
	}{
		"age": {broker.Options{MaxAge: time.Minute}, func(*broker.Broker) { time.Sleep(time.Minute) }, "old enough"},
		"End": {broker.Options{}, func(b *broker.Broker) {
			b.End(func(broker.Subscriber) bool { return true })
		}, "ended by the application"},
		"snapshot": {broker.Options{Snapshot: func(*http.Request, []string) ([]sse.Event, error) {
			return nil, errors.New("no state")
		}}, func(*broker.Broker) {}, "broker: snapshot: no state"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var l records
				test.opts.Logger = l.logger(slog.LevelDebug)
				b := newBroker(t, &test.opts)
				s := connect(t, b, "")
				synctest.Wait()
				test.do(b)
				require.NoError(t, s.Wait())
				assert.Contains(t, l.String(), fmt.Sprintf("reason=%q", test.want))
				assert.NotContains(t, s.Body(), "retry:")
			})
		})
	}
}
