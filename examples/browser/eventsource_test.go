package browser

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/sse"
)

// The values of EventSource.readyState.
const (
	connecting = iota
	opened
	closed
)

// TestEventSource is about the EventSource of one Chromium, in a tab for each
// test: starting a Chromium for each takes longer than all they do.
func TestEventSource(t *testing.T) {
	t.Parallel()
	c := chromium(t)
	for name, test := range map[string]func(*testing.T, *tab){
		"GetsEveryEventOnceThoughServersComeAndGo":    getsEveryEventOnce,
		"IsToldOfTheGapWhenTheHistoryIsLost":          isToldOfTheGap,
		"ThatHasSeenNoEventResumesWhereItBegan":       resumesWhereItBegan,
		"LearnsFromHeartbeatsWhereOtherTopicsAre":     learnsFromHeartbeats,
		"OutlivesAServerWhoseBrokerShutsDownBeforeIt": outlivesTheBroker,
		"GivesUpOnAnythingButAStream":                 givesUp,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t, c)
		})
	}
}

func getsEveryEventOnce(t *testing.T, c *tab) {
	for name, test := range map[string]struct {
		opts broker.Options
		tls  bool
	}{
		"over HTTP/1.1":                       {},
		"over HTTP/1.1 with detached sockets": {opts: broker.Options{Detach: true}},
		"over HTTP/2":                         {tls: true},
		"over HTTP/2 and Disconnect":          {opts: broker.Options{Slow: broker.Disconnect, QueueSize: 2}, tls: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, test.opts, test.tls)
			b := c.open(t, s.url())
			s.awaitSubscribers(1)
			want := s.publish(5)
			assert.Equal(t, want, b.arrivals(5))

			for range 3 {
				want = append(want, s.publish(200)...) // some are under way when it crashes
				s.crash()
				want = append(want, s.publish(20)...)
				s.start()
				want = append(want, s.publish(20)...)
				require.Equal(t, want, b.arrivals(len(want)))
				want = append(want, s.publish(1)...)
				require.Equal(t, want, b.arrivals(len(want)))
			}
			last := len(want) - 1
			s.shutdown()
			want = append(want, s.publish(20)...)
			s.start()
			want = append(want, s.publish(1)...)
			assert.Equal(t, want, b.arrivals(len(want)))

			cursors := s.requests()
			assert.Empty(t, cursors[0])
			for _, cursor := range cursors[1:] {
				assert.True(t, slices.ContainsFunc(want, func(a arrival) bool { return a.ID == cursor }), cursor)
			}
			assert.Equal(t, want[last].ID, cursors[len(cursors)-1], "an orderly end leaves nothing out")
			assert.NotContains(t, value[[]int](b, "states"), closed)
		})
	}
}

func isToldOfTheGap(t *testing.T, c *tab) {
	s := newSite(t, broker.Options{}, false)
	b := c.open(t, s.url())
	s.awaitSubscribers(1)
	want := s.publish(5)
	b.arrivals(5)

	s.crash()
	s.opts.Store = broker.NewMemoryStore(nil)
	want = append(want, gap(want[4].ID))
	want = append(want, s.publish(3)...) // before the page is back
	s.start()
	want = append(want, s.publish(2)...)
	assert.Equal(t, want, b.arrivals(len(want)))
}

func resumesWhereItBegan(t *testing.T, c *tab) {
	s := newSite(t, broker.Options{}, false)
	before := s.publish(5)
	b := c.open(t, s.url())
	s.awaitSubscribers(1)
	b.await("states.length == 1")
	s.crash()
	want := s.publish(3)
	s.start()
	want = append(want, s.publish(3)...)
	assert.Equal(t, want, b.arrivals(6))
	assert.Equal(t, []string{"", before[4].ID}, s.requests())
}

func learnsFromHeartbeats(t *testing.T, c *tab) {
	for name, detach := range map[string]bool{"attached": false, "detached": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, broker.Options{Heartbeat: 50 * time.Millisecond, Detach: detach}, false)
			b := c.open(t, s.url())
			s.awaitSubscribers(1)
			want := s.publish(1)
			b.arrivals(1)
			id, err := s.broker.Publish(t.Context(), sse.Event{Data: "not for this page"}, "elsewhere")
			require.NoError(t, err)

			// The page cannot show what a heartbeat carries, but its next request
			// does. How long a heartbeat takes depends on the machine.
			await(t, func() bool {
				time.Sleep(4 * s.opts.Heartbeat)
				s.crash()
				s.start()
				s.awaitSubscribers(1)
				cursors := s.requests()
				return cursors[len(cursors)-1] == id
			})
			want = append(want, s.publish(1)...)
			assert.Equal(t, want, b.arrivals(2))
		})
	}
}

func outlivesTheBroker(t *testing.T, c *tab) {
	s := newSite(t, broker.Options{}, false)
	b := c.open(t, s.url())
	s.awaitSubscribers(1)
	want := s.publish(3)
	require.NoError(t, s.broker.Shutdown(t.Context()))
	b.await("states.length >= 4") // open, lost, then an answer: a stream that ends at once
	assert.Equal(t, []int{opened, connecting, opened, connecting}, value[[]int](b, "states")[:4])

	s.crash()
	want = append(want, s.publish(3)...)
	s.start()
	assert.Equal(t, want, b.arrivals(6))
}

func givesUp(t *testing.T, c *tab) {
	for name, answer := range map[string]http.HandlerFunc{
		"204":           func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) },
		"404":           http.NotFound,
		"503":           func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) },
		"another media": func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("data: not a stream\n\n")) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, broker.Options{}, false)
			b := c.open(t, s.url())
			s.awaitSubscribers(1)
			want := s.publish(1)
			b.arrivals(1)
			s.crash()
			s.serve(answer)
			b.await("source.readyState == %d", closed)
			s.crash()
			s.start()
			asked := len(s.requests())
			time.Sleep(5 * retry) // there is no event that says that nothing will come
			assert.Len(t, s.requests(), asked)
			assert.Equal(t, want, b.arrivals(1))
			assert.Equal(t, closed, value[int](b, "source.readyState"))
		})
	}
}
