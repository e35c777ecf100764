package main

import (
	"cmp"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/client"
	"github.com/fanfare-go/fanfare/sse"
)

// moment is what the page plots: an event on the topic figures, once a second.
type moment struct {
	Time        int64   `json:"time"` // ms since 1970
	Subscribers int     `json:"subscribers"`
	Delivered   float64 `json:"delivered"` // events a second
	Bytes       float64 `json:"bytes"`     // a second
	P50         float64 `json:"p50"`       // ms from Publish to the client
	P99         float64 `json:"p99"`
	CaughtUp    uint64  `json:"caughtUp"` // since the start
	Slowest     []who   `json:"slowest"`
}

// who is a subscriber that lags.
type who struct {
	Remote     string   `json:"remote"`
	Topics     []string `json:"topics"`
	Lag        float64  `json:"lag"` // ms
	Queued     int      `json:"queued"`
	Delivered  uint64   `json:"delivered"`
	CatchingUp bool     `json:"catchingUp"`
}

// watch publishes the figures of events on events itself.
func watch(ctx context.Context, events *broker.Broker, times *latencies) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	before, at := events.Stats(), time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now, seconds := events.Stats(), time.Since(at).Seconds()
		at = time.Now()
		m := moment{
			Time:        at.UnixMilli(),
			Subscribers: now.Subscribers,
			Delivered:   float64(now.Delivered-before.Delivered) / seconds,
			Bytes:       float64(now.Bytes-before.Bytes) / seconds,
			CaughtUp:    now.CaughtUp,
			Slowest:     slowest(events.Subscribers(), 5),
		}
		m.P50, m.P99 = times.percentiles()
		before = now
		data, err := json.Marshal(m)
		if err != nil {
			panic(err) // there is nothing in it that cannot be JSON
		}
		_, _ = events.Publish(ctx, sse.Event{Data: string(data)}, figures) // fails at the end only
	}
}

// late is the lag from which on a subscriber counts as slow: whoever is looked at in
// the middle of a delivery lags for a moment.
const late = 100 * time.Millisecond

// slowest returns the n subscribers that lag most, of those that are slow.
func slowest(all []broker.Subscriber, n int) []who {
	slices.SortFunc(all, func(x, y broker.Subscriber) int { return cmp.Compare(y.Lag, x.Lag) })
	list := []who{}
	for _, s := range all[:min(n, len(all))] {
		if s.Lag >= late {
			list = append(list, who{s.Remote, s.Topics, ms(s.Lag), s.Queued, s.Delivered, s.CatchingUp})
		}
	}
	return list
}

// padding gives the events of the load the size of a small JSON document.
var padding = " " + strings.Repeat("x", 1000)

// publish publishes events that say when they were published.
func publish(ctx context.Context, events *broker.Broker, rate int) {
	ticker := time.NewTicker(time.Second / time.Duration(rate))
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			_, _ = events.Publish(ctx, sse.Event{Data: strconv.FormatInt(now.UnixNano(), 10) + padding}, load)
		}
	}
}

// latencies are the delivery times since they were last asked for. All methods
// may be called concurrently.
type latencies struct {
	mu  sync.Mutex // guards all
	all []time.Duration
}

// measure subscribes, and notes how long events take, until ctx ends.
func (l *latencies) measure(ctx context.Context, url string) {
	began := time.Now()
	for ev, err := range client.New(url, nil).Events(ctx) {
		if err != nil {
			return // the end: this client waits for everything else
		}
		stamp, _, _ := strings.Cut(ev.Data, " ")
		ns, err := strconv.ParseInt(stamp, 10, 64)
		if at := time.Unix(0, ns); err == nil && at.After(began) { // else it is from the history
			l.mu.Lock()
			l.all = append(l.all, time.Since(at))
			l.mu.Unlock()
		}
	}
}

// percentiles returns the median and the 99th percentile in ms, and starts over.
func (l *latencies) percentiles() (p50, p99 float64) {
	l.mu.Lock()
	all := l.all
	l.all = nil
	l.mu.Unlock()
	if len(all) == 0 {
		return 0, 0
	}
	slices.Sort(all)
	return ms(all[len(all)/2]), ms(all[len(all)*99/100])
}

// dawdle subscribes, and reads less than is published, until ctx ends.
func dawdle(ctx context.Context, url string) {
	for ; ctx.Err() == nil; pause(ctx, time.Second) { // it may be cut off, or refused
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			continue
		}
		for buf := make([]byte, 2<<10); resp.StatusCode == http.StatusOK; {
			if _, err := io.ReadFull(resp.Body, buf); err != nil {
				break // the server may lose its patience
			}
			pause(ctx, 100*time.Millisecond)
		}
		resp.Body.Close()
	}
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
