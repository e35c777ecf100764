package broker_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/client"
	"github.com/fanfare-go/fanfare/sse"
	"github.com/fanfare-go/fanfare/sse/ssetest"
)

// A trial publishes events and has clients read them through connections that
// break. What is published on which topics, and which topics a client has,
// follows from the seed of the faults. It is to be used in a bubble.
type trial struct {
	t       *testing.T
	faults  *ssetest.Faults
	rand    *rand.Rand // of the goroutine that publishes
	topics  []string
	pause   time.Duration // the longest between two bursts of events
	readers []*reader
	reading sync.WaitGroup // goroutines of readers
	ctx     context.Context
	giveUp  context.CancelCauseFunc // ends ctx, and so the readers

	mu        sync.Mutex // guards published
	published []published
}

// published is an event as Publish took it.
type published struct {
	id     string
	data   string
	topics []string
}

// trialFaults are cuts of all kinds, mostly, and what makes a stream slow.
func trialFaults(t *testing.T, seed uint64, maxBytes int, maxPause time.Duration) *ssetest.Faults {
	cut, reset, half := ssetest.FaultCut, ssetest.FaultReset, ssetest.FaultHalfClose
	return ssetest.NewFaults(t, &ssetest.FaultOptions{
		Seed:     seed,
		Kinds:    []ssetest.Fault{cut, cut, cut, reset, reset, half, ssetest.FaultStall, ssetest.FaultTrickle, ssetest.FaultDuplicate, ssetest.FaultGarbage},
		MaxBytes: maxBytes,
		MaxPause: maxPause,
	})
}

// maxBytes is how many bytes a connection lives at most. Over HTTP/2, where
// several streams share one, and a frame of up to 16 KiB arrives whole or not
// at all, that must be more, or there would be hardly any progress.
func maxBytes(protocol ssetest.Protocol) int {
	if protocol == ssetest.HTTP2 || protocol == ssetest.H2C {
		return 36 << 10
	}
	return 12 << 10
}

// cuts is how often a stream was broken by its connection.
func cuts(f *ssetest.Faults) int {
	return f.Count(ssetest.FaultCut, ssetest.FaultReset, ssetest.FaultHalfClose)
}

func newTrial(t *testing.T, faults *ssetest.Faults) *trial {
	tr := &trial{t: t, faults: faults, rand: rand.New(rand.NewPCG(faults.Seed(), 0)), pause: 20 * time.Millisecond}
	tr.ctx, tr.giveUp = context.WithCancelCause(t.Context())
	for i := range 12 {
		tr.topics = append(tr.topics, fmt.Sprint("t", i))
	}
	return tr
}

// some returns from 1 to n topics.
func (tr *trial) some(n int) []string {
	var topics []string
	for _, i := range tr.rand.Perm(len(tr.topics))[:1+tr.rand.IntN(n)] {
		topics = append(topics, tr.topics[i])
	}
	return topics
}

// settle waits until every reader has a cursor: until then a connection that
// breaks leaves nothing behind to go on from.
func (tr *trial) settle() {
	for _, r := range tr.readers {
		for r.client.LastEventID() == "" {
			time.Sleep(time.Millisecond)
		}
	}
}

// publish publishes at least n events by several goroutines at once, in bursts
// and with pauses, so that readers meet them live, queued and stored. It goes
// on until connections were cut so many times: how many events that takes
// depends on how fast readers come back, and so on the machine.
func (tr *trial) publish(n, cut int, publish func(sse.Event, []string) (id string)) {
	for limit := 10 * n; n > 0 || cuts(tr.faults) < cut; {
		burst := 1 + tr.rand.IntN(200)
		n -= burst
		if n < -limit {
			tr.t.Errorf("connections are not cut: %v", tr.faults)
			return
		}
		var work sync.WaitGroup
		for share := range 4 {
			var events []published
			for i := share; i < burst; i += 4 {
				data := strings.Repeat(strconv.Itoa(n+i)+" ", 1+tr.rand.IntN(8))
				events = append(events, published{data: data, topics: tr.some(3)})
			}
			work.Go(func() {
				for _, ev := range events {
					tr.publishOne(ev, publish)
				}
			})
		}
		work.Wait()
		time.Sleep(time.Duration(tr.rand.Int64N(int64(tr.pause))))
	}
}

func (tr *trial) publishOne(ev published, publish func(sse.Event, []string) string) {
	ev.id = publish(sse.Event{Data: ev.data}, ev.topics)
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.published = append(tr.published, ev)
}

// end publishes last events until every reader has got one: a drop policy may
// drop the first of them.
func (tr *trial) end(publish func(sse.Event, []string) string) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		tr.reading.Wait()
	}()
	for i, ended := 0, false; !ended; i++ {
		if i == 1200 {
			tr.giveUp(errors.New("the end does not arrive"))
		}
		tr.publishOne(published{data: lastData, topics: tr.topics}, publish)
		select {
		case <-done:
			ended = true
		case <-time.After(100 * time.Millisecond):
		}
	}
	slices.SortFunc(tr.published, func(a, b published) int { return number(a.id) - number(b.id) })
}

const lastData = "end"

// isEnd reports whether a reader may stop before these events.
func isEnd(rest []published) bool {
	return !slices.ContainsFunc(rest, func(ev published) bool { return ev.data != lastData })
}

// number is what comes after the last dash of an ID: its place in the order of
// the Store.
func number(id string) int {
	n, err := strconv.Atoi(id[strings.LastIndexByte(id, '-')+1:])
	if err != nil {
		panic(err)
	}
	return n
}

// life is what comes before that: the life of the process with the Store.
func life(id string) string { return id[:max(0, strings.LastIndexByte(id, '-'))] }

// A reader is a client of a trial, and what has come of it.
type reader struct {
	topics  []string
	client  *client.Client
	err     error
	got     []arrival
	cursors []string // Last-Event-ID of each connection that became a stream
	closing int      // how many of these said that the connection ends with them
}

// An arrival is an event as a client got it.
type arrival struct {
	id         string
	kind       string // "gap", "state" or ""
	data       string
	connection int // index into cursors
}

// read starts a client of base that reads n topics at most until the last event.
func (tr *trial) read(base string, transport http.RoundTripper, n int) {
	r := &reader{topics: tr.some(n)}
	tr.readers = append(tr.readers, r)
	r.client = client.New(base+"?"+url.Values{"t": r.topics}.Encode(), &client.Options{
		HTTPClient: &http.Client{Transport: transport},
		MinBackoff: -1,
		MaxBackoff: 50 * time.Millisecond,
		OnConnect: func(resp *http.Response) {
			r.cursors = append(r.cursors, resp.Request.Header.Get("Last-Event-ID"))
			if resp.Close {
				r.closing++
			}
		},
	})
	pace := rand.New(rand.NewPCG(tr.faults.Seed(), uint64(len(tr.readers))))
	tr.reading.Go(func() {
		for ev, err := range r.client.Events(tr.ctx) {
			if err != nil {
				r.err = err
				return
			}
			r.got = append(r.got, arrival{ev.ID, ev.Type, ev.Data, len(r.cursors) - 1})
			if ev.Data == lastData {
				return
			}
			if pace.IntN(300) == 0 {
				time.Sleep(time.Duration(pace.IntN(10)) * time.Millisecond)
			}
		}
	})
}

// wanted is what a reader of these topics is to get, in the order of the Store.
func (tr *trial) wanted(topics []string) (wanted []published) {
	for _, ev := range tr.published {
		if slices.ContainsFunc(ev.topics, func(topic string) bool { return slices.Contains(topics, topic) }) {
			wanted = append(wanted, ev)
		}
	}
	return wanted
}

// requireAll fails the test unless every reader has got everything, in order,
// each once, and no Gap. It returns how many events that were.
func (tr *trial) requireAll() (delivered int) {
	for n, r := range tr.readers {
		want := tr.wanted(r.topics)
		for i, got := range r.got {
			switch {
			case got.kind != "":
				tr.t.Fatalf("client %d: arrival %d is a Gap, after cursor %q", n, i, r.cursors[got.connection])
			case i == len(want):
				tr.t.Fatalf("client %d: one too many: %+v", n, got)
			case want[i].id != got.id || want[i].data != got.data:
				tr.t.Fatalf("client %d: arrival %d is %+v, after cursor %q, and not %+v", n, i, got, r.cursors[got.connection], want[i])
			}
		}
		require.NoErrorf(tr.t, r.err, "client %d: after %d of %d", n, len(r.got), len(want))
		require.Truef(tr.t, isEnd(want[len(r.got):]), "client %d: %d of %d", n, len(r.got), len(want))
		delivered += len(r.got)
	}
	return delivered
}

// skip takes the events through a place in the order off want.
func skip(want *[]published, through int) (hole int) {
	for hole < len(*want) && number((*want)[hole].id) <= through {
		hole++
	}
	*want = (*want)[hole:]
	return hole
}

// requireGaps fails the test unless there is one Gap wherever events are
// missing, and none where not.
//
// A connection that breaks behind a Gap is a case of its own: if nothing behind
// the hole had arrived, the next one goes on before it, and brings what was
// dropped from the Store. Then there is a Gap, but no hole.
func (tr *trial) requireGaps() (delivered, gaps int) {
	for n, r := range tr.readers {
		want := tr.wanted(r.topics)
		gap, connection := false, 0 // gap: the arrival before was one
		for i, got := range r.got {
			for connection < got.connection {
				connection++
				if r.cursors[connection] == "" {
					continue // nothing had been published then
				}
				// A block that sets the ID may have come after the Gap.
				if hole := skip(&want, number(r.cursors[connection])); hole > 0 && !gap {
					tr.t.Fatalf("client %d: before arrival %d: the cursor skips %d events", n, i, hole)
				}
				gap = false
			}
			if got.kind == "gap" {
				if gap {
					tr.t.Fatalf("client %d: arrival %d: two Gaps in a row", n, i)
				}
				gap = true
				gaps++
				continue
			}
			hole := skip(&want, number(got.id)-1)
			switch {
			case len(want) == 0 || want[0].id != got.id || want[0].data != got.data:
				tr.t.Fatalf("client %d: arrival %d is %+v, after cursor %q, and not one of %.100v", n, i, got, r.cursors[got.connection], want)
			case gap != (hole > 0):
				tr.t.Fatalf("client %d: arrival %d is %+v, after cursor %q: Gap: %v, hole: %d events", n, i, got, r.cursors[got.connection], gap, hole)
			}
			want, gap = want[1:], false
			delivered++
		}
		require.NoErrorf(tr.t, r.err, "client %d", n)
		require.Truef(tr.t, isEnd(want), "client %d: the end is missing", n)
	}
	return delivered, gaps
}

// serve runs h behind a server, and a proxy for it that breaks connections. It
// returns the URL of the proxy. In memory the connections are small, so that a
// stream that stalls is felt at once.
func (tr *trial) serve(h http.Handler, protocol ssetest.Protocol) (srv *ssetest.Server, base string) {
	network := ssetest.NewNetwork(&ssetest.NetworkOptions{Buffer: 4 << 10})
	srv = ssetest.Serve(tr.t, h, &ssetest.ServerOptions{Protocol: protocol, Network: network, Config: silent()})
	return srv, tr.proxy(srv)
}

func (tr *trial) proxy(srv *ssetest.Server) (base string) {
	scheme, addr, _ := strings.Cut(srv.URL, "://")
	proxy := tr.faults.Proxy(addr, &ssetest.ProxyOptions{Network: srv.Network})
	return scheme + "://" + proxy.Addr
}

// silent is a server that does not log what comes of broken connections.
func silent() *http.Server {
	return &http.Server{ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
}

// trialOptions are those of a Broker whose queues are short and whose streams
// are never idle for long, so that blocks that set the ID stand between events.
func trialOptions(policy broker.SlowPolicy) *broker.Options {
	return &broker.Options{
		Topics:    broker.AnyQueryTopic("t"),
		Store:     broker.NewMemoryStore(&broker.MemoryOptions{MaxEvents: -1, MaxBytes: -1}),
		QueueSize: 16,
		Slow:      policy,
		Heartbeat: 5 * time.Millisecond,
	}
}
