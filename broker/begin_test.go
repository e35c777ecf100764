package broker_test

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
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

// taken is a ResponseWriter that calls hook as its connection is taken over.
type taken struct {
	http.ResponseWriter
	hook func()
}

func (h *taken) Unwrap() http.ResponseWriter { return h.ResponseWriter }

func (h *taken) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	defer h.hook()
	return http.NewResponseController(h.ResponseWriter).Hijack()
}

func TestADetachedStreamWhoseHeaderCannotBeWrittenIsGone(t *testing.T) {
	b := newBroker(t, &broker.Options{Detach: true, Snapshot: state})
	ended := make(chan any, 1)
	srv := loopback(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() { ended <- recover() }()
		b.ServeHTTP(&taken{w, func() { b.Close() }}, r)
	}))
	conn, err := net.Dial("tcp", strings.TrimPrefix(srv.URL, "http://"))
	require.NoError(t, err)
	defer conn.Close()
	_, err = conn.Write([]byte(plainRequest))
	require.NoError(t, err)
	assert.Nil(t, <-ended, "it does not panic")
}

func TestASnapshotThatWasNotTakenHasNotFailed(t *testing.T) {
	var log records
	b := newBroker(t, &broker.Options{Logger: log.logger(slog.LevelWarn), Snapshot: state})
	w := struct{ http.ResponseWriter }{httptest.NewRecorder()} // which cannot flush
	b.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	assert.Contains(t, log.String(), "request refused")
	assert.NotContains(t, log.String(), "snapshot")
}

// With the context of the process as BaseContext, that of every request has ended
// during a shutdown. A response that is no stream would end browsers' for good.
func TestARequestWhoseContextHasEndedGetsAStream(t *testing.T) {
	for _, closed := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			base, cancel := context.WithCancel(t.Context())
			b := newBroker(t, nil)
			srv := ssetest.Serve(t, b, &ssetest.ServerOptions{Config: &http.Server{
				BaseContext: func(net.Listener) context.Context { return base },
			}})
			cancel()
			if closed {
				b.Close()
			}
			resp, err := srv.Client().Get(srv.URL)
			require.NoError(t, err)
			defer resp.Body.Close()
			assert.Equal(t, 200, resp.StatusCode)
			assert.Equal(t, sse.MediaType, resp.Header.Get("Content-Type"))
		})
	}
}

// While somebody is logged out all the time, others get in.
func TestCallsOfEndKeepNobodyOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		b := newBroker(t, &broker.Options{Topics: func(*http.Request) ([]string, error) {
			asked++
			time.Sleep(30 * time.Millisecond)
			return []string{"a"}, nil
		}})
		stop := make(chan struct{})
		go func() {
			for ticker := time.NewTicker(10 * time.Millisecond); ; {
				select {
				case <-ticker.C:
					b.End(func(broker.Subscriber) bool { return false })
				case <-stop:
					return
				}
			}
		}()
		s := connect(t, b, "")
		time.Sleep(time.Second)
		close(stop)
		assert.Equal(t, 200, s.Code())
		assert.Equal(t, 2, asked)
		publish(t, b, 1, 1, "a")
		assert.Contains(t, s.news(), "data: 1\n")
	})
}

func TestWhoIsAskedForAgainMayBeRefusedChangedOrEnded(t *testing.T) {
	all := func(broker.Subscriber) bool { return true }
	for name, test := range map[string]struct {
		answers []any // of Topics: topics, or an error
		endAt   []int // calls of Topics during which End ends all
		code    int
		topics  []string // of the subscriber in the end; nil: there is none
	}{
		"refused":       {[]any{"a", &broker.StatusError{Code: 401}}, []int{1}, 401, nil},
		"changed":       {[]any{"a", "b", "b"}, []int{1}, 200, []string{"b"}},
		"changed twice": {[]any{"a", "b", "b", "c", "c"}, []int{1, 3}, 200, []string{"c"}},
		"ended":         {[]any{"a", "a"}, []int{1, 2}, 200, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				asked := 0
				var b *broker.Broker
				b = newBroker(t, &broker.Options{MaxSubscribers: 1, Topics: func(*http.Request) ([]string, error) {
					asked++
					if slices.Contains(test.endAt, asked) {
						b.End(all)
					}
					if err, ok := test.answers[asked-1].(error); ok {
						return nil, err
					}
					return []string{test.answers[asked-1].(string)}, nil
				}})
				s := connect(t, b, "")
				synctest.Wait()
				assert.Equal(t, test.code, s.Code())
				var topics []string
				for _, sub := range subscribers(b) {
					topics = append(topics, sub.Topics...)
				}
				assert.Equal(t, test.topics, topics)
				assert.Len(t, test.answers, asked)
				assert.NoError(t, b.Shutdown(t.Context()))
			})
		})
	}
}

func TestNothingIsKeptOfTheRequestLineButItsTopics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &broker.Options{Topics: broker.AnyQueryTopic("t"), Store: broker.Discard})
		srv := ssetest.Serve(t, b, &ssetest.ServerOptions{Config: &http.Server{MaxHeaderBytes: 2 << 20}})
		topics := numbers(1, 20)
		subscribe(t, b, topics...) // which keeps all of them alive
		var before int
		for i, topic := range topics {
			if i == 4 {
				before = collected()
			}
			resp, err := srv.Client().Get(srv.URL + "?t=" + topic + "&rest=" + strings.Repeat("x", 900_000))
			require.NoError(t, err)
			resp.Body.Close()
			synctest.Wait()
		}
		assert.Less(t, collected()-before, 5<<20)
	})
}

func TestABodyThatDoesNotComeHoldsNobody(t *testing.T) {
	for _, request := range []string{
		"GET / HTTP/1.1\r\nHost: sse.test\r\nContent-Length: 500\r\n\r\nhello",
		"GET / HTTP/1.1\r\nHost: sse.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
		"HEAD / HTTP/1.1\r\nHost: sse.test\r\nContent-Length: 500\r\n\r\nhello",
	} {
		for _, closed := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				b := newBroker(t, &broker.Options{WriteTimeout: time.Second})
				if closed {
					b.Close()
				}
				srv := ssetest.Serve(t, b, nil)
				conn := dial(t, srv, request)
				defer conn.Close()
				time.Sleep(2 * time.Second)
				start := time.Now()
				assert.Equal(t, 0, b.Stats().Subscribers)
				assert.NoError(t, b.Shutdown(t.Context()))
				assert.NoError(t, srv.Shutdown(t.Context()))
				assert.Less(t, time.Since(start), 3*time.Second)
				answer, err := io.ReadAll(conn)
				assert.NoError(t, err)
				assert.Regexp(t, "^HTTP/1.1 400 ", string(answer))
			})
		}
	}
}

// telling is a ResponseWriter that tells of its write deadlines.
type telling struct {
	*httptest.ResponseRecorder
	set func(time.Time)
}

func (d *telling) SetWriteDeadline(t time.Time) error { d.set(t); return nil }

// waiting is a telling whose writes wait, so that its stream is still there when
// Close cuts it.
type waiting struct {
	*telling
	until chan struct{}
}

func (w *waiting) Write(p []byte) (int, error) {
	<-w.until
	return w.telling.Write(p)
}

// On HTTP/2 a deadline that is set then panics.
func TestNoDeadlineIsSetForWhoWasRefusedAsTheBrokerCloses(t *testing.T) {
	for range 20 { // who is cut first is up to chance
		synctest.Test(t, testARefusalAsTheBrokerCloses)
	}
}

func testARefusalAsTheBrokerCloses(t *testing.T) {
	asked, cut, answer := 0, make(chan struct{}), make(chan struct{})
	var once sync.Once
	var b *broker.Broker
	b = newBroker(t, &broker.Options{WriteTimeout: -1, Topics: func(r *http.Request) ([]string, error) {
		if r.URL.Path == "/refused" {
			if asked++; asked == 1 {
				b.End(func(broker.Subscriber) bool { return false })
			} else {
				<-answer
				return nil, &broker.StatusError{Code: 403}
			}
		}
		return nil, nil
	}})
	// While Close cuts this stream, the other one is refused.
	stays := &telling{httptest.NewRecorder(), func(at time.Time) {
		if !at.IsZero() && at.Before(time.Now()) {
			once.Do(func() { close(answer) })
			<-cut
		}
	}}
	go b.ServeHTTP(&waiting{stays, answer}, httptest.NewRequest("GET", "/stays", nil))
	synctest.Wait()
	returned := false
	refused := &telling{httptest.NewRecorder(), func(time.Time) { assert.False(t, returned) }}
	go func() {
		b.ServeHTTP(refused, httptest.NewRequest("GET", "/refused", nil))
		returned = true
		close(cut)
	}()
	synctest.Wait()
	assert.NoError(t, b.Close())
	assert.True(t, returned)
	assert.Equal(t, 403, refused.Code)
}
