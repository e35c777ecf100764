package broker_test

import (
	"bytes"
	"context"
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

func TestTheHeadersOfAStreamGoOutAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &broker.Options{Store: broker.Discard})
		s := connect(t, b, "")
		assert.Equal(t, http.Header{
			"Content-Type":      {"text/event-stream"},
			"Cache-Control":     {"no-cache, no-transform"},
			"X-Accel-Buffering": {"no"},
		}, s.Header())
		assert.Equal(t, 200, s.Code())

		s = connect(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "private")
			w.Header().Set("X-Accel-Buffering", "yes")
			b.ServeHTTP(w, r)
		}), "")
		assert.Equal(t, http.Header{
			"Content-Type":      {"text/event-stream"},
			"Cache-Control":     {"private"},
			"X-Accel-Buffering": {"yes"},
		}, s.Header())
	})
}

func TestOverHTTP1AStreamIsSentAsItIsUntilTheConnectionCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, nil)
		for _, protocol := range ssetest.Protocols {
			srv := ssetest.Serve(t, b, &ssetest.ServerOptions{Protocol: protocol})
			resp, err := srv.Client().Get(srv.URL)
			require.NoError(t, err)
			assert.Equal(t, resp.ProtoMajor == 1, resp.Close, "%v", protocol)
			assert.Empty(t, resp.TransferEncoding, "%v", protocol)
			assert.NoError(t, resp.Body.Close())
		}
	})
}

func TestRequestsThatAreNoStreamAreRefused(t *testing.T) {
	topics := func(r *http.Request) ([]string, error) {
		switch r.URL.Path {
		case "/secret":
			return nil, errors.New("the reason")
		case "/login":
			return nil, fmt.Errorf("wrapped: %w", &broker.StatusError{Code: 401, Err: errors.New("the reason")})
		case "/odd":
			return nil, &broker.StatusError{Code: 42}
		}
		return []string{"a"}, nil
	}
	for name, test := range map[string]struct {
		method, path string
		header       http.Header
		code         int
		want         http.Header
	}{
		"POST":              {"POST", "/", nil, 405, http.Header{"Allow": {"GET, HEAD"}}},
		"OPTIONS":           {"OPTIONS", "/", nil, 405, http.Header{"Allow": {"GET, HEAD"}}},
		"Accept":            {"GET", "/", http.Header{"Accept": {"text/html, application/*;q=0.5"}}, 406, nil},
		"Accept with q=0":   {"GET", "/", http.Header{"Accept": {"*/*, text/event-stream;q=0"}}, 406, nil},
		"Accept with Q=0":   {"GET", "/", http.Header{"Accept": {"text/event-stream; level=1; Q=0"}}, 406, nil},
		"Accept of others":  {"GET", "/", http.Header{"Accept": {"text/*, text/event-stream;q=0, text/html"}}, 406, nil},
		"error of Topics":   {"GET", "/secret", nil, 403, nil},
		"status of Topics":  {"GET", "/login", nil, 401, nil},
		"status out of 4xx": {"GET", "/odd", nil, 500, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			b := newBroker(t, &broker.Options{Topics: topics, Logger: slog.New(slog.NewTextHandler(&log, nil))})
			r := httptest.NewRequest(test.method, test.path, nil)
			for k, v := range test.header {
				r.Header[k] = v
			}
			w := httptest.NewRecorder()
			b.ServeHTTP(w, r)
			assert.Equal(t, test.code, w.Code)
			assert.Equal(t, http.StatusText(test.code)+"\n", w.Body.String())
			for k, v := range test.want {
				assert.Equal(t, v, w.Header()[k])
			}
			if test.path == "/secret" || test.path == "/login" {
				assert.Contains(t, log.String(), "the reason")
			}
		})
	}
}

func TestWhatAcceptsAnEventStreamGetsOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, nil)
		for _, accept := range [][]string{
			nil,
			{""},
			{"*/*"},
			{"text/*;q=0.1"},
			{"Text/Event-Stream"},
			{"text/html", "text/event-stream ; charset=utf-8"},
			{"text/*;q=0, text/event-stream"},
			{"application/json, */*; q=0.01"},
			{" ", ""},
			{", ,\t"},
			{"application/json,  text/event-stream"},
			{"text/event-stream;q=0, text/event-stream;level=1"},
			{"text/event-stream, text/event-stream;q=0"},
			{"text/event-stream; q= 0.5"},
			{"*/*;q=0, text/*"},
		} {
			r := ssetest.NewRequest("/", "")
			r.Header["Accept"] = accept
			s := ssetest.Record(t, b, r)
			assert.Equal(t, 200, s.Code(), accept)
		}
	})
}

func TestHEADGetsTheHeadersOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, nil)
		srv := ssetest.Serve(t, b, nil)
		r, err := srv.Client().Head(srv.URL)
		require.NoError(t, err)
		require.NoError(t, r.Body.Close())
		assert.Equal(t, 200, r.StatusCode)
		assert.Equal(t, "text/event-stream", r.Header.Get("Content-Type"))
		assert.Equal(t, 0, b.Stats().Subscribers)
	})
}

func TestTooManySubscribersAreTurnedAwayUntilAPlaceIsFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &broker.Options{MaxSubscribers: 2, QueueSize: 1})
		sub := subscribe(t, b)
		s := connect(t, b, "")
		s.news()
		_, err := b.Subscribe()
		assert.Equal(t, broker.ErrFull, err)
		refused := connect(t, b, "")
		require.NoError(t, refused.Wait())
		assert.Equal(t, 503, refused.Code())
		assert.NotEmpty(t, refused.Header().Get("Retry-After"))

		publish(t, b, 1, 10) // catching up keeps the place
		take(t, sub, 5)
		_, err = b.Subscribe()
		assert.Equal(t, broker.ErrFull, err)

		s.Close()
		synctest.Wait()
		subscribe(t, b)
	})
}

func TestAWriterThatCannotFlushIsAnError(t *testing.T) {
	b := newBroker(t, &broker.Options{Snapshot: func(*http.Request, []string) ([]sse.Event, error) {
		t.Error("nobody can be sent a snapshot")
		return nil, nil
	}})
	rec := httptest.NewRecorder()
	var w http.ResponseWriter = struct{ http.ResponseWriter }{rec}
	r := httptest.NewRequest("GET", "/", nil)
	b.ServeHTTP(w, r.WithContext(context.WithValue(t.Context(), http.ServerContextKey, &http.Server{})))
	assert.Equal(t, 500, rec.Code)
	assert.Equal(t, http.Header{"Content-Type": {"text/plain; charset=utf-8"}, "X-Content-Type-Options": {"nosniff"}}, rec.Header())
	assert.Equal(t, 0, b.Stats().Subscribers)
}

func TestQueryTopicsServesOnlyWhatIsAllowed(t *testing.T) {
	topics := broker.QueryTopics("stream", "a", "b")
	got, err := topics(httptest.NewRequest("GET", "/?stream=b&stream=a&x=y", nil))
	require.NoError(t, err)
	assert.ElementsMatch(t, []string{"a", "b"}, got)

	for target, code := range map[string]int{
		"/":                      400,
		"/?x=a":                  400,
		"/?stream=c":             404,
		"/?stream=a&stream=c":    404,
		"/?stream=":              404,
		"/?stream=A":             404,
		"/?stream=a%00&stream=b": 404,
	} {
		_, err := topics(httptest.NewRequest("GET", target, nil))
		var status *broker.StatusError
		require.ErrorAs(t, err, &status, target)
		assert.Equal(t, code, status.Code, target)
	}
	_, err = broker.QueryTopics("stream")(httptest.NewRequest("GET", "/?stream=a", nil))
	var status *broker.StatusError
	require.ErrorAs(t, err, &status)
	assert.Equal(t, 404, status.Code)
}

func TestAnyQueryTopicServesWhatIsNamed(t *testing.T) {
	topics := broker.AnyQueryTopic("t")
	got, err := topics(httptest.NewRequest("GET", "/?t=x&t=&t=%E2%82%AC", nil))
	require.NoError(t, err)
	assert.ElementsMatch(t, []string{"x", "", "€"}, got)
	_, err = topics(httptest.NewRequest("GET", "/", nil))
	var status *broker.StatusError
	require.ErrorAs(t, err, &status)
	assert.Equal(t, 400, status.Code)
}

func TestARequestForTooManyTopicsIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for limit, n := range map[int]int{0: 100, 3: 3, -1: 5_000} {
			b := newBroker(t, &broker.Options{Topics: broker.AnyQueryTopic("t"), MaxTopics: limit})
			query := "/?t=1&t=1&t=" + strings.Join(numbers(1, n), "&t=")
			assert.Equal(t, 200, ssetest.Record(t, b, ssetest.NewRequest(query, "")).Code())
			if limit >= 0 {
				query += "&t=one+more"
				assert.Equal(t, 400, ssetest.Record(t, b, ssetest.NewRequest(query, "")).Code())
			}
		}
	})
}

func TestAHandlerHasItsOwnTopics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &broker.Options{
			Topics: func(*http.Request) ([]string, error) { return nil, errors.New("not asked") },
			Store:  broker.Discard,
		})
		ab, none := connect(t, b.Handler("a", "b", "a"), ""), connect(t, b.Handler(), "")
		ab.news()
		none.news()
		publish(t, b, 1, 1, "a", "b")
		publish(t, b, 2, 2)
		assert.Equal(t, block("", "1"), ab.news())
		assert.Equal(t, block("", "2"), none.news())
	})
}

func TestStreamsOutliveTheTimeoutsOfTheServer(t *testing.T) {
	for _, protocol := range ssetest.Protocols {
		for _, timeout := range []time.Duration{2 * time.Second, -1} {
			t.Run(fmt.Sprint(protocol, timeout), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := newBroker(t, &broker.Options{WriteTimeout: timeout, Heartbeat: -1})
					srv := ssetest.Serve(t, b, &ssetest.ServerOptions{Protocol: protocol, Config: &http.Server{
						ReadTimeout: time.Second, ReadHeaderTimeout: time.Second,
						WriteTimeout: time.Second, IdleTimeout: time.Second,
					}})
					r, err := srv.Client().Get(srv.URL)
					require.NoError(t, err)
					defer r.Body.Close()
					d := sse.NewDecoder(r.Body)
					for i, idle := range []time.Duration{0, 3 * time.Second, time.Minute, time.Hour} {
						time.Sleep(idle)
						publish(t, b, i, i)
						ev, err := d.Decode()
						require.NoError(t, err)
						assert.Equal(t, fmt.Sprint(i), ev.Data)
					}
					time.Sleep(time.Minute)
					require.NoError(t, b.Shutdown(t.Context()))
					_, err = d.Decode()
					assert.Equal(t, io.EOF, err, "the end is clean, however long nothing was written")
				})
			})
		}
	}
}

func TestAClientThatNeverReadsLosesItsConnectionOnly(t *testing.T) {
	for _, protocol := range ssetest.Protocols {
		t.Run(protocol.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBroker(t, &broker.Options{WriteTimeout: time.Second, QueueBytes: 1 << 17})
				srv := ssetest.Serve(t, b, &ssetest.ServerOptions{Protocol: protocol})
				stuck, err := srv.NewTransport().RoundTrip(get(t, srv.URL))
				require.NoError(t, err)
				defer stuck.Body.Close()
				healthy, err := srv.NewTransport().RoundTrip(get(t, srv.URL))
				require.NoError(t, err)
				defer healthy.Body.Close()

				d := sse.NewDecoder(healthy.Body)
				data := strings.Repeat("x", 1<<16)
				for i := range 200 {
					_, err := b.Publish(t.Context(), sse.Event{Data: fmt.Sprint(i, data)})
					require.NoError(t, err)
					ev, err := d.Decode()
					require.NoError(t, err)
					require.Equal(t, fmt.Sprint(i, data), ev.Data)
				}
				time.Sleep(10 * time.Second) // crypto/tls takes another 5 s to say goodbye
				assert.Equal(t, 1, b.Stats().Subscribers, "the stuck one is gone")
				require.NoError(t, b.Shutdown(t.Context()))
				ended := make(chan struct{})
				go func() { _, _ = io.Copy(io.Discard, healthy.Body); close(ended) }()
				<-ended
				stuck.Body.Close()
				require.NoError(t, srv.Shutdown(t.Context()))
			})
		})
	}
}

func get(t testing.TB, url string) *http.Request {
	r, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	require.NoError(t, err)
	return r
}

func TestAStreamEndsWithItsClient(t *testing.T) {
	for _, protocol := range ssetest.Protocols {
		t.Run(protocol.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBroker(t, nil)
				srv := ssetest.Serve(t, b, &ssetest.ServerOptions{Protocol: protocol})
				r, err := srv.Client().Get(srv.URL)
				require.NoError(t, err)
				assert.Equal(t, 1, b.Stats().Subscribers)
				require.NoError(t, r.Body.Close())
				synctest.Wait()
				assert.Equal(t, 0, b.Stats().Subscribers)
			})
		})
	}
}

func TestAPanicOfACallbackLeavesNoSubscriber(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &broker.Options{Snapshot: func(*http.Request, []string) ([]sse.Event, error) { panic("oops") }})
		func() {
			defer func() { assert.Equal(t, "oops", recover()) }()
			b.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))
		}()
		assert.Equal(t, 0, b.Stats().Subscribers)
		require.NoError(t, b.Shutdown(t.Context()))
	})
}
