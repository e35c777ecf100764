package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/client"
	"github.com/fanfare-go/fanfare/sse/ssetest"
)

func TestMain(m *testing.M) { ssetest.Main(m) }

// start runs a server, and returns its address and a function that ends it.
func start(t *testing.T, s settings) (url string, stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r, w := io.Pipe()
	done := make(chan error, 1)
	s.addr = "127.0.0.1:0"
	go func() { done <- run(ctx, s, w) }()
	line, err := bufio.NewReader(r).ReadString('\n')
	require.NoError(t, err)
	match := regexp.MustCompile(`^A dashboard is at (http://127\.0\.0\.1:\d+/)\. Ctrl-C ends it\.\n$`).FindStringSubmatch(line)
	require.NotNil(t, match, line)
	t.Cleanup(cancel)
	return match[1], func() error { cancel(); return <-done }
}

func TestThePageIsFedWhatTheBrokerDoes(t *testing.T) {
	url, stop := start(t, settings{clients: 5, slow: 1, rate: 200})
	var slow []who
	var last moment
	seen := 0
	for ev, err := range client.New(url+"events?topic=figures", nil).Events(t.Context()) {
		require.NoError(t, err)
		var m moment
		require.NoError(t, json.Unmarshal([]byte(ev.Data), &m))
		require.Greater(t, m.Time, last.Time)
		last = m
		seen++
		if len(m.Slowest) > 0 && m.Slowest[0].Queued > 0 {
			slow = m.Slowest
		}
		if slow != nil && m.Subscribers == 7 && m.P50 > 0 {
			break
		}
	}
	assert.Greater(t, last.Delivered, 100.)
	assert.Greater(t, last.Bytes, 1000*last.Delivered)
	assert.GreaterOrEqual(t, last.P99, last.P50)
	assert.Equal(t, []string{load}, slow[0].Topics)
	assert.Positive(t, slow[0].Lag)

	// Whoever opens the page now has the past at once.
	ctx, cancel := context.WithTimeout(t.Context(), 900*time.Millisecond)
	defer cancel()
	past := 0
	for _, err := range client.New(url+"events?topic=figures", nil).Events(ctx) {
		if err == nil {
			past++
		}
	}
	assert.GreaterOrEqual(t, past, seen)
	require.NoError(t, stop())
}

func TestThereIsOnePageAndItsStream(t *testing.T) {
	url, stop := start(t, settings{rate: 1})
	for path, want := range map[string]int{"": 200, "favicon.ico": 404, "events": 400, "events?topic=others": 404} {
		resp, err := http.Get(url + path)
		require.NoError(t, err)
		body, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		resp.Body.Close()
		assert.Equal(t, want, resp.StatusCode, path)
		if path == "" {
			assert.Contains(t, resp.Header.Get("Content-Security-Policy"), "default-src 'none'; connect-src 'self'")
			assert.Contains(t, resp.Header.Get("Content-Security-Policy"), "frame-ancestors 'none'")
			assert.Contains(t, string(body), `new EventSource("/events?topic=figures"`)
		}
	}
	require.NoError(t, stop())
}

func TestRunSaysWhatIsWrong(t *testing.T) {
	for _, s := range []settings{{rate: 0}, {rate: maxRate + 1}, {rate: 1, clients: -1}, {rate: 1, slow: -1}} {
		assert.ErrorContains(t, run(t.Context(), s, io.Discard), "must be from 1 to 1000000")
	}
	assert.Error(t, run(t.Context(), settings{addr: "127.0.0.1:-1", rate: 1}, io.Discard))
}

func TestTheSlowestComeFirstAndOthersNotAtAll(t *testing.T) {
	got := slowest([]broker.Subscriber{
		{Remote: "quick"},
		{Remote: "slow", Lag: 200 * time.Millisecond, Queued: 3, Delivered: 4, Topics: []string{load}},
		{Remote: "slower", Lag: time.Second, CatchingUp: true},
		{Remote: "busy", Lag: 99 * time.Millisecond},
	}, 2)
	assert.Equal(t, []who{
		{Remote: "slower", Lag: 1000, CatchingUp: true},
		{Remote: "slow", Lag: 200, Queued: 3, Delivered: 4, Topics: []string{load}},
	}, got)
	data, err := json.Marshal(moment{Slowest: slowest(nil, 5)})
	require.NoError(t, err)
	assert.True(t, strings.HasSuffix(string(data), `"slowest":[]}`), "the page ranges over it: %s", data)
}

func TestASlowSubscriberThatIsRefusedTriesAgainAfterAWhile(t *testing.T) {
	asked, left := make(chan struct{}, 100), make(chan struct{}, 100)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		w.WriteHeader(http.StatusServiceUnavailable)
		for r.Context().Err() == nil { // it is not for reading
			io.WriteString(w, "full")
		}
		left <- struct{}{}
	}))
	defer server.Close()
	ctx, cancel := context.WithCancel(t.Context())
	var dawdling sync.WaitGroup
	dawdling.Go(func() { dawdle(ctx, server.URL) })
	defer func() { cancel(); dawdling.Wait() }()
	<-asked
	began := time.Now()
	select {
	case <-left:
	case <-time.After(10 * time.Second):
		require.Fail(t, "it reads what is no stream")
	}
	<-asked
	assert.Greater(t, time.Since(began), 500*time.Millisecond)
}

func TestPercentilesAreOfTheTimesSinceTheLast(t *testing.T) {
	var l latencies
	for i := range 200 {
		l.all = append(l.all, time.Duration(200-i)*time.Millisecond)
	}
	p50, p99 := l.percentiles()
	assert.Equal(t, []float64{101, 199}, []float64{p50, p99})
	p50, p99 = l.percentiles()
	assert.Equal(t, []float64{0, 0}, []float64{p50, p99})
}
