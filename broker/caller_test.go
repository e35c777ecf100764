package broker_test

import (
	"errors"
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

// from is a request of a remote address.
func from(addr string) *http.Request {
	r := ssetest.NewRequest("/", "")
	r.RemoteAddr = addr
	return r
}

func TestACallerHasSoManySubscribersAndNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &broker.Options{MaxPerCaller: 2})
		for name, test := range map[string]struct{ first, second, third, other, caller string }{
			"IPv4":         {"192.0.2.1:1", "192.0.2.1:2", "192.0.2.1:3", "192.0.2.2:1", "192.0.2.1"},
			"IPv6":         {"[2001:db8::1]:1", "[2001:db8::2]:1", "[2001:db8::ffff:0:0:1]:1", "[2001:db8:0:1::1]:1", "2001:db8::/64"},
			"IPv4 in IPv6": {"[::ffff:192.0.2.7]:1", "192.0.2.7:1", "[::ffff:192.0.2.7]:2", "[::ffff:192.0.2.8]:2", "192.0.2.7"},
			"zone":         {"[fe80::1%eth0]:1", "[fe80::2%eth1]:2", "[fe80::3]:3", "[fe81::1%eth0]:1", "fe80::/64"},
			"no address":   {"@", "@", "@", "pipe", "@"},
		} {
			one, two := ssetest.Record(t, b, from(test.first)), ssetest.Record(t, b, from(test.second))
			assert.Equal(t, 200, one.Code(), name)
			assert.Equal(t, 200, two.Code(), name)
			assert.Equal(t, test.caller, subscribers(b)[0].Caller, name)
			refused := ssetest.Record(t, b, from(test.third))
			require.Equal(t, 429, refused.Code(), name)
			require.NoError(t, refused.Wait())
			assert.Regexp(t, `^[1-5]$`, refused.Header().Get("Retry-After"))
			other := ssetest.Record(t, b, from(test.other))
			assert.Equal(t, 200, other.Code(), name)

			two.Close()
			again := ssetest.Record(t, b, from(test.third))
			assert.Equal(t, 200, again.Code(), name)
			one.Close()
			again.Close()
			other.Close()
		}
	})
}

func TestWhoTheCallerIsCanBeSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &broker.Options{
			MaxPerCaller: 1,
			Caller:       func(r *http.Request) string { return r.URL.Query().Get("user") },
		})
		code := func(user string) int {
			return ssetest.Record(t, b, ssetest.NewRequest("/?user="+user, "")).Code()
		}
		assert.Equal(t, []int{200, 429, 200}, []int{code("ann"), code("ann"), code("bob")})
		assert.Equal(t, []int{200, 200}, []int{code(""), code("")}, "who is nobody has no limit")
		subscribe(t, b) // nor has what is in process
		assert.Equal(t, 5, b.Stats().Subscribers)
	})
}

// Each of these ends a request on another path. If it kept the caller's only
// place, the stream after it would be refused.
func TestNoPathKeepsThePlaceOfACaller(t *testing.T) {
	refuse := func(*http.Request) ([]string, error) { return nil, errors.New("no") }
	fail := func(*http.Request, []string) ([]sse.Event, error) { return nil, errors.New("no") }
	oops := func(*http.Request, []string) ([]sse.Event, error) { panic("oops") }
	for name, test := range map[string]struct {
		opts broker.Options
		do   func(t *testing.T, b *broker.Broker, url string)
	}{
		"refused":          {broker.Options{Topics: refuse}, nil},
		"failing snapshot": {broker.Options{Snapshot: fail}, nil},
		"panic":            {broker.Options{Snapshot: oops}, nil},
		"full": {broker.Options{}, func(t *testing.T, b *broker.Broker, url string) {
			sub, err := b.Subscribe()
			require.NoError(t, err)
			defer sub.Close()
			resp, err := http.Get(url)
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			assert.Equal(t, 503, resp.StatusCode)
		}},
		"HEAD": {broker.Options{}, func(t *testing.T, _ *broker.Broker, url string) {
			resp, err := http.Head(url)
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
		}},
		"stuck": {broker.Options{WriteTimeout: 50 * time.Millisecond}, func(t *testing.T, b *broker.Broker, url string) {
			_, resp := open(t, url, "")
			_, err := b.Publish(t.Context(), sse.Event{Data: strings.Repeat("x", 12<<20)})
			require.NoError(t, err)
			require.Eventually(t, func() bool { return b.Stats().Subscribers == 0 }, 10*time.Second, time.Millisecond)
			resp.Body.Close()
		}},
		"ended": {broker.Options{}, func(t *testing.T, b *broker.Broker, url string) {
			_, resp := open(t, url, "")
			require.Equal(t, 1, b.End(func(broker.Subscriber) bool { return true }))
			_, err := io.Copy(io.Discard, resp.Body)
			require.NoError(t, err)
		}},
		"gone": {broker.Options{}, func(t *testing.T, _ *broker.Broker, url string) {
			_, resp := open(t, url, "")
			resp.Body.Close()
		}},
	} {
		for _, detach := range []bool{false, true} {
			t.Run(name+map[bool]string{true: ", detached"}[detach], func(t *testing.T) {
				opts := test.opts
				opts.Detach, opts.MaxPerCaller, opts.MaxSubscribers = detach, 1, 1
				topics, snapshot := opts.Topics, opts.Snapshot
				if topics != nil {
					opts.Topics = func(r *http.Request) ([]string, error) {
						if r.URL.Path == "/good" {
							return nil, nil
						}
						return topics(r)
					}
				}
				if snapshot != nil {
					opts.Snapshot = func(r *http.Request, all []string) ([]sse.Event, error) {
						if r.URL.Path == "/good" {
							return nil, nil
						}
						return snapshot(r, all)
					}
				}
				b := newBroker(t, &opts)
				srv := httptest.NewUnstartedServer(b)
				srv.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
				srv.Start()
				defer srv.Close()
				if test.do != nil {
					test.do(t, b, srv.URL)
				} else if resp, err := http.Get(srv.URL); err == nil {
					_, _ = io.Copy(io.Discard, resp.Body)
					resp.Body.Close()
				}
				require.Eventually(t, func() bool { return b.Stats().Subscribers == 0 }, 10*time.Second, time.Millisecond)
				for range 3 {
					_, resp := open(t, srv.URL+"/good", "")
					resp.Body.Close()
					require.Eventually(t, func() bool { return b.Stats().Subscribers == 0 }, 10*time.Second, time.Millisecond)
				}
			})
		}
	}
}
