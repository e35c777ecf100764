package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/client"
)

var long = flag.Bool("faults", false, "run the tests of faults in full length: minutes instead of seconds")

// size is what a test of faults is made of.
type size struct {
	clients, events int
	pace            time.Duration // from one event to the next, at least
	between         time.Duration // two faults
	longest         time.Duration // that a fault lasts
	least, most     int           // faults
	patience        time.Duration // until all have the last event, once it is published
}

func sized() size {
	if *long {
		return size{200, 20_000, 2 * time.Millisecond, 5 * time.Second, 8 * time.Second, 4, 1_000, 3 * time.Minute}
	}
	return size{20, 600, 10 * time.Millisecond, 500 * time.Millisecond, 4 * time.Second, 2, 4, patience}
}

func TestEveryClientGetsEveryEventOnceWhileNodesAreKilled(t *testing.T) {
	trial(t, func(c *cluster, _ *engine, _ *network, lasts time.Duration) error {
		n := c.nodes[rand.IntN(len(c.nodes))]
		n.kill()
		time.Sleep(lasts / 4) // or there would seldom be three
		return n.start()
	})
}

func TestEveryClientGetsEveryEventOnceWhileTheEngineIsRestarted(t *testing.T) {
	trial(t, func(_ *cluster, e *engine, _ *network, lasts time.Duration) error {
		e.kill()
		time.Sleep(lasts)
		return e.start()
	})
}

func TestEveryClientGetsEveryEventOnceWhileTheNetworkToTheEngineIsCut(t *testing.T) {
	trial(t, func(_ *cluster, _ *engine, n *network, lasts time.Duration) error {
		n.cut()
		time.Sleep(lasts)
		n.mend()
		return nil
	})
}

// trial publishes events on a cluster with clients, with one fault after the
// other, and fails unless every client has every event, once, in order.
func trial(t *testing.T, fault func(c *cluster, e *engine, n *network, lasts time.Duration) error) {
	if !*long {
		t.Parallel()
	}
	s := sized()
	e, err := startEngine(t.TempDir())
	require.NoError(t, err)
	t.Cleanup(e.kill)
	n := newNetwork(t, e.running.Load().Addr().String())
	c := newCluster(t.Context(), n.url(), nil)
	t.Cleanup(c.close)
	require.NoError(t, c.start())
	server := httptest.NewServer(c.routes())
	t.Cleanup(server.Close)

	crowd := newCrowd(t, server.URL+"/events", s)
	defer crowd.end()
	crowd.settle()

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	published := make(chan error, 1)
	go func() { published <- publish(ctx, n.url(), s) }()
	faults, ended := 0, false
	for !ended {
		var next <-chan time.Time
		if faults < s.most {
			next = time.After(s.between)
		}
		select {
		case err := <-published:
			require.NoError(t, err)
			ended = true
		case <-next:
			lasts := rand.N(s.longest)
			began := time.Now()
			require.NoError(t, fault(c, e, n, lasts))
			faults++
			t.Logf("a fault of %v, over after %v", lasts, time.Since(began))
		}
	}
	crowd.wait(s.patience)
	t.Logf("%d faults, %d connections of %d clients", faults, crowd.connections.Load(), s.clients)
	assert.GreaterOrEqual(t, faults, s.least)
	crowd.requireAll(s.events)
}

// publish publishes the numbers from 1 on.
func publish(ctx context.Context, urls string, s size) error {
	nc, err := dial(urls)
	if err != nil {
		return err
	}
	defer nc.Close()
	store, err := open(ctx, nc)
	if err != nil {
		return err
	}
	ticker := time.NewTicker(s.pace)
	defer ticker.Stop()
	for i := 1; i <= s.events; i++ {
		if err := add(ctx, store, i); err != nil {
			return err
		}
		<-ticker.C
	}
	return nil
}

// A crowd is clients of a front. Each reads the numbers from 1 on.
type crowd struct {
	t           *testing.T
	clients     []*client.Client
	errs        []error        // of the client with the same index, once its goroutine has ended
	got         []atomic.Int64 // the last number of each
	last        int            // number
	connections atomic.Int64

	cancel  context.CancelFunc
	reading sync.WaitGroup
	done    chan struct{} // closed when all have ended
}

func newCrowd(t *testing.T, url string, s size) *crowd {
	c := &crowd{t: t, errs: make([]error, s.clients), got: make([]atomic.Int64, s.clients), last: s.events, done: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	transport := &http.Transport{MaxIdleConnsPerHost: s.clients}
	t.Cleanup(transport.CloseIdleConnections)
	for i := range s.clients {
		cl := client.New(url, &client.Options{
			HTTPClient: &http.Client{Transport: transport},
			MinBackoff: -1,
			MaxBackoff: time.Second,
			OnConnect:  func(*http.Response) { c.connections.Add(1) },
		})
		c.clients = append(c.clients, cl)
		c.reading.Go(func() { c.errs[i] = c.read(ctx, cl, &c.got[i]) })
	}
	go func() { c.reading.Wait(); close(c.done) }()
	return c
}

// read reads the numbers from 1 to the last.
func (c *crowd) read(ctx context.Context, cl *client.Client, got *atomic.Int64) error {
	for ev, err := range cl.Events(ctx) {
		switch n := got.Load() + 1; {
		case err != nil:
			return err
		case ev.Type == "node":
		case ev.Type != "" || ev.Data != strconv.FormatInt(n, 10):
			return fmt.Errorf("got %+v instead of %d", ev, n)
		default:
			if got.Store(n); int(n) == c.last {
				return nil
			}
		}
	}
	return errors.New("the stream ended")
}

// settle waits until every client has a cursor: until then a connection that
// breaks leaves nothing behind to go on from.
func (c *crowd) settle() {
	for _, cl := range c.clients {
		for began := time.Now(); cl.LastEventID() == ""; time.Sleep(5 * time.Millisecond) {
			require.Less(c.t, time.Since(began), patience, "a client gets no cursor")
		}
	}
}

// wait waits until every client has ended.
func (c *crowd) wait(patience time.Duration) {
	select {
	case <-c.done:
	case <-time.After(patience):
		c.end()
	}
}

func (c *crowd) end() {
	c.cancel()
	<-c.done
}

// requireAll fails the test unless every client has got every event.
func (c *crowd) requireAll(events int) {
	for i, err := range c.errs {
		require.NoErrorf(c.t, err, "client %d, after %d", i, c.got[i].Load())
		require.EqualValues(c.t, events, c.got[i].Load())
	}
}
