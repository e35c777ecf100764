package client_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/fanfare-go/fanfare/client"
	"github.com/fanfare-go/fanfare/sse"
	"github.com/fanfare-go/fanfare/sse/ssetest"
)

// raw starts a server that answers the header of the one request of each
// connection with bytes: first these, and then those over and over, every so
// often, until the client closes. It returns an http.Client for it and the
// count of bytes that were taken.
func raw(t *testing.T, first, then string, every time.Duration) (*http.Client, *atomic.Int64) {
	network := ssetest.NewNetwork(nil)
	listener, err := network.Listen("sse.test:80")
	assert.NoError(t, err)
	taken := new(atomic.Int64)
	var wg sync.WaitGroup
	answer := func(conn net.Conn) {
		defer conn.Close()
		if _, err := http.ReadRequest(bufio.NewReader(conn)); err != nil {
			return
		}
		for text := first; ; text = then {
			n, err := io.WriteString(conn, text)
			taken.Add(int64(n))
			if err != nil || then == "" {
				return
			}
			time.Sleep(every)
		}
	}
	wg.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { answer(conn) })
		}
	})
	transport := &http.Transport{DialContext: network.DialContext}
	t.Cleanup(func() {
		listener.Close()
		transport.CloseIdleConnections()
		wg.Wait()
	})
	return &http.Client{Transport: transport}, taken
}

// suffer ranges over all events and returns the last error.
func suffer(t *testing.T, hc *http.Client, opts client.Options) (last error) {
	opts.HTTPClient = hc
	for _, err := range client.New("http://sse.test:80/", &opts).Events(t.Context()) {
		last = err
	}
	return last
}

const streamHeader = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"

// inFlight is what can be taken beyond what is read: by the buffers of the
// connection, of the Transport and of the Decoder.
const inFlight = ssetest.DefaultBuffer + 64<<10

func TestAnEndlessLineOrEventCostsMaxEventSize(t *testing.T) {
	const limit = 1 << 20
	for name, then := range map[string]string{
		"data":    strings.Repeat("x", 1000),
		"comment": strings.Repeat(":", 1000),
		"event":   "data: " + strings.Repeat("x", 1000) + "\n",
	} {
		inBubble(t, name, func(t *testing.T) {
			hc, taken := raw(t, streamHeader, then, 0)
			err := suffer(t, hc, client.Options{MaxEventSize: limit})
			assert.ErrorIs(t, err, sse.ErrTooLong)
			assert.Less(t, taken.Load(), int64(limit+limit/100+inFlight))
		})
	}
}

func TestEndlessCommentsCostNoMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hc, taken := raw(t, streamHeader, strings.Repeat(": comment\n\n", 1000), 0)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		opts := &client.Options{HTTPClient: hc, OnComment: func(string) {
			if taken.Load() > 4<<20 {
				cancel()
			}
		}}
		for range client.New("http://sse.test:80/", opts).Events(ctx) {
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		assert.Less(t, int64(after.HeapAlloc)-int64(before.HeapAlloc), int64(1<<20))
	})
}

func TestAHeaderThatNeverEndsCosts10MiBOrIdleTimeout(t *testing.T) {
	for name, then := range map[string]string{
		"one field":               strings.Repeat("x", 1<<16),
		"many fields":             strings.Repeat("X-Field: x\r\n", 1<<10),
		"informational responses": "",
	} {
		first := "HTTP/1.1 200 OK\r\nX-Field: "
		if then == "" {
			first = "HTTP/1.1 103 Early Hints\r\n\r\n"
			then = strings.Repeat(first, 1<<10)
		}
		inBubble(t, name+" at full speed", func(t *testing.T) {
			hc, taken := raw(t, first, then, 0)
			err := suffer(t, hc, client.Options{MaxAttempts: 1})
			assert.Error(t, err)
			assert.Less(t, taken.Load(), int64(10<<20+inFlight))
		})
		inBubble(t, name+" slowly", func(t *testing.T) {
			hc, _ := raw(t, first, then[:28], time.Second)
			start := time.Now()
			err := suffer(t, hc, client.Options{MaxAttempts: 1, IdleTimeout: time.Minute})
			assert.ErrorIs(t, err, client.ErrIdle)
			assert.Equal(t, time.Minute, time.Since(start))
		})
	}
}

func TestAGzipBombCostsMaxEventSizeUnpacked(t *testing.T) {
	bomb := func(text string) string { // of 4 MiB; many in a row are one stream
		var packed bytes.Buffer
		w := gzip.NewWriter(&packed)
		for range 1 << 6 {
			io.WriteString(w, strings.Repeat(text, 1<<16))
		}
		w.Close()
		return packed.String()
	}
	packed := bomb("x")
	const header = "Content-Encoding: gzip\r\n\r\n"
	inBubble(t, "as a line", func(t *testing.T) {
		hc, taken := raw(t, strings.TrimSuffix(streamHeader, "\r\n")+header+packed, packed, 0)
		err := suffer(t, hc, client.Options{MaxEventSize: 1 << 20})
		assert.ErrorIs(t, err, sse.ErrTooLong)
		assert.Less(t, taken.Load(), int64(inFlight))
	})
	inBubble(t, "as the body of a refusal", func(t *testing.T) {
		hc, taken := raw(t, "HTTP/1.1 404 Not Found\r\n"+header+packed, packed, 0)
		err := suffer(t, hc, client.Options{})
		if refused := new(client.ResponseError); assert.ErrorAs(t, err, &refused) {
			assert.Len(t, refused.Body, 4<<10)
		}
		assert.Less(t, taken.Load(), int64(inFlight))
	})
}

func TestEndlessRedirectsCost21RequestsAnAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		requests := 0
		s := ssetest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			requests++ // one after the other
			http.Redirect(w, r, r.URL.Path+"x", http.StatusFound)
		}), nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		for range client.New(s.URL+"/", &client.Options{HTTPClient: s.Client()}).Events(ctx) {
		}
		assert.LessOrEqual(t, requests, 21*(5+3600/30))
	})
}

func TestAServerThatEndsEveryStreamAtOnceIsNotAskedInABusyLoop(t *testing.T) {
	// requests returns how many the answer provokes in that time.
	requests := func(t *testing.T, answer http.HandlerFunc, d time.Duration) int {
		requests := 0
		s := ssetest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			requests++ // one after the other
			answer(w, r)
		}), nil)
		ctx, cancel := context.WithTimeout(t.Context(), d)
		defer cancel()
		for range client.New(s.URL, &client.Options{HTTPClient: s.Client()}).Events(ctx) {
		}
		return requests
	}
	inBubble(t, "by default", func(t *testing.T) {
		assert.LessOrEqual(t, requests(t, whole(""), time.Hour), 6+3600/30)
	})
	inBubble(t, "with retry: 0", func(t *testing.T) {
		assert.LessOrEqual(t, requests(t, whole("retry: 0\n\n"), time.Hour), 16+3600/30)
	})
	inBubble(t, "with retry: 0 and an event", func(t *testing.T) {
		n := requests(t, whole("retry: 0\ndata: 1\n\n"), 10*time.Second)
		assert.LessOrEqual(t, n, 1001)
		assert.Greater(t, n, 666)
	})
	inBubble(t, "with an endless retry it is still asked again", func(t *testing.T) {
		n := requests(t, whole("retry: 99999999999999999999\ndata: 1\n\n"), time.Hour)
		assert.LessOrEqual(t, n, 13)
		assert.GreaterOrEqual(t, n, 8)
	})
}

func TestAHugeIDIsKeptOnceAndNeverSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		id := strings.Repeat("x", 1<<20)
		p := serve(t, whole("id: "+id+"\ndata: 1\n\n"), whole(strings.Repeat("data: 2\n\n", 1000)), whole("id:\ndata: 3\n\n"))
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		var events []sse.Event
		for ev, err := range p.client(client.Options{}).Events(t.Context()) {
			assert.NoError(t, err)
			events = append(events, ev)
		}
		runtime.GC()
		runtime.ReadMemStats(&after)
		assert.Less(t, int64(after.HeapAlloc)-int64(before.HeapAlloc), int64(3<<20))
		assert.Len(t, events, 1002)
		assert.Equal(t, id, events[1000].ID)
		assert.Equal(t, []string{"[]", "[]", "[]", "[]"}, p.lastEventIDs())
	})
}
