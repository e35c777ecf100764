package broker_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/broker/storetest"
	"github.com/fanfare-go/fanfare/sse"
	"github.com/fanfare-go/fanfare/sse/ssetest"
)

// A node is a process that serves a Broker at one address, and is restarted.
type node struct {
	t        *testing.T
	protocol ssetest.Protocol
	network  *ssetest.Network // nil: sockets
	addr     string
	options  func() *broker.Options // of each life
	view     *storetest.View        // of its history, if that is shared

	mu sync.Mutex // guards what follows
	b  *broker.Broker
	s  *ssetest.Server
}

func startNode(t *testing.T, n *node) *node {
	n.t = t
	n.start()
	t.Cleanup(func() { n.stop(false) })
	return n
}

func (n *node) start() {
	b := broker.New(n.options())
	opts := &ssetest.ServerOptions{Protocol: n.protocol, Network: n.network, Addr: n.addr, Config: silent()}
	if n.network == nil {
		l, err := net.Listen("tcp", n.addr)
		require.NoError(n.t, err)
		n.addr, opts.Listener = l.Addr().String(), shortListener{l}
	}
	s := ssetest.Serve(n.t, b, opts)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.b, n.s = b, s
}

// stop ends the process: in order, or as a crash does.
func (n *node) stop(inOrder bool) {
	b, s := n.now()
	if inOrder {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = b.Shutdown(ctx) // if time is up, it was a crash
	}
	if n.network == nil {
		assert.NoError(n.t, b.Close()) // its connections are not those of the server
	}
	s.Close()
	assert.NoError(n.t, b.Close())
}

func (n *node) now() (*broker.Broker, *ssetest.Server) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.b, n.s
}

// restart runs a trial with a server that keeps its history in memory and is
// restarted, and returns how many Gaps and how many lost events there were.
func restart(t *testing.T, protocol ssetest.Protocol, faults *ssetest.Faults, inOrder func(i int) bool) (gaps, lost int) {
	tr := newTrial(t, faults)
	tr.pause = 4 * time.Second
	network := ssetest.NewNetwork(&ssetest.NetworkOptions{Buffer: 4 << 10})
	n := startNode(t, &node{
		protocol: protocol, network: network, addr: "node:80",
		options: func() *broker.Options {
			opts := trialOptions(broker.CatchUp)
			opts.Heartbeat = 100 * time.Millisecond
			opts.Retry = 10 * time.Millisecond // or what the last life said would stay
			return opts
		},
	})
	proxy := tr.faults.Proxy("node:80", &ssetest.ProxyOptions{Network: network})
	for range 8 {
		_, s := n.now()
		tr.read("http://"+proxy.Addr, s.NewTransport(), len(tr.topics))
	}
	publishing := make(chan struct{})
	publish := func(ev sse.Event, topics []string) string {
		for {
			b, _ := n.now()
			id, err := b.Publish(t.Context(), ev, topics...)
			if err == nil {
				select {
				case publishing <- struct{}{}:
				default:
				}
				return id
			}
			assert.Equal(t, broker.ErrClosed, err)
			time.Sleep(time.Millisecond)
		}
	}
	tr.settle()
	done := make(chan struct{})
	go func() {
		defer close(done)
		tr.publish(5_000, 0, publish)
	}()
	for i := range restarts {
		time.Sleep(8 * time.Second) // who was sent away has come back within 7.5 s
		n.stop(inOrder(i))
		n.start()
	}
	<-done
	tr.end(publish)
	gaps, lost = tr.requireLives()
	t.Log(tr.faults, gaps, "gaps,", lost, "lost")
	return gaps, lost
}

const restarts = 8

func TestARestartWithHistoryInMemoryIsOneGapAndNeverASilentHole(t *testing.T) {
	for _, protocol := range []ssetest.Protocol{ssetest.HTTP1, ssetest.H2C} {
		t.Run(protocol.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				faults := trialFaults(t, 0, maxBytes(protocol), 50*time.Millisecond)
				gaps, _ := restart(t, protocol, faults, func(i int) bool { return i%2 == 0 })
				assert.GreaterOrEqual(t, gaps, 4*restarts)
				assert.Positive(t, cuts(faults))
			})
		})
	}
}

func TestARestartInOrderLosesNothingButTheCursor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		faults := ssetest.NewFaults(t, &ssetest.FaultOptions{Kinds: []ssetest.Fault{}})
		gaps, lost := restart(t, ssetest.HTTP1, faults, func(int) bool { return true })
		assert.Equal(t, 8*restarts, gaps)
		assert.Zero(t, lost)
	})
}

// requireLives fails the test unless each connection that came with a cursor
// from an earlier life of the server began with one Gap and what the new life
// had first, and each other one had no Gap and went on behind its cursor. It
// returns how many Gaps there were, and how many events came to nobody.
func (tr *trial) requireLives() (gaps, lost int) {
	for n, r := range tr.readers {
		lives := make(map[string][]published) // what is still to come
		for _, ev := range tr.wanted(r.topics) {
			lives[life(ev.id)] = append(lives[life(ev.id)], ev)
		}
		at := "" // the ID that the reader has come to
		gap := false
		rest := r.got
		for k, cursor := range r.cursors {
			// Blocks that set the ID may have moved it.
			if life(cursor) != life(at) && at != "" && !gap {
				tr.t.Fatalf("client %d: connection %d: cursor %q after %q, and no Gap", n, k, cursor, at)
			}
			if want := lives[life(cursor)]; len(want) > 0 && number(want[0].id) <= number(cursor) {
				tr.t.Fatalf("client %d: connection %d: cursor %q skips %+v", n, k, cursor, want[0])
			}
			at, gap = cursor, false
			for i := 0; len(rest) > 0 && rest[0].connection == k; i++ {
				got := rest[0]
				rest = rest[1:]
				if got.kind == "gap" {
					if i > 0 || cursor == "" {
						tr.t.Fatalf("client %d: connection %d, with cursor %q: arrival %d is a Gap", n, k, cursor, i)
					}
					gap = true
					gaps++
					continue
				}
				if fromBefore := cursor != "" && life(got.id) != life(cursor); gap != fromBefore {
					tr.t.Fatalf("client %d: connection %d, with cursor %q: %+v: Gap: %v", n, k, cursor, got, gap)
				}
				want := lives[life(got.id)]
				if len(want) == 0 || want[0].id != got.id || want[0].data != got.data {
					tr.t.Fatalf("client %d: connection %d, with cursor %q: arrival %d is %+v, and not %.1v", n, k, cursor, i, got, want)
				}
				at, lives[life(got.id)] = got.id, want[1:]
			}
		}
		require.NoErrorf(tr.t, r.err, "client %d", n)
		require.Truef(tr.t, isEnd(lives[life(at)]), "client %d: the end is missing", n)
		delete(lives, life(at)) // last events may be published after the one that a reader stops at
		for _, want := range lives {
			lost += len(want)
		}
	}
	return gaps, lost
}

// A ring has a client dial several addresses in turn.
type ring struct {
	dial      ssetest.DialFunc
	addresses []string
	dialled   atomic.Int64
}

func (r *ring) DialContext(ctx context.Context, network, _ string) (net.Conn, error) {
	return r.dial(ctx, network, r.addresses[int(r.dialled.Add(1))%len(r.addresses)])
}

// disturb makes a node of a shared history lag behind, lose the engine, lose
// its answers, or restart, one after the other, until done is closed.
func disturb(n *node, pace *rand.Rand, longest time.Duration, done <-chan struct{}) (restarts int) {
	pause := func() { time.Sleep(time.Duration(1 + pace.Int64N(int64(longest)))) }
	for {
		select {
		case <-done:
			return restarts
		default:
		}
		pause()
		switch pace.IntN(5) {
		case 0:
			n.view.Pause()
			pause()
			n.view.Resume()
		case 1:
			n.view.SetErr(errors.New("away"))
			pause()
			n.view.SetErr(nil)
		case 2:
			n.view.LoseReplies(errors.New("the answer got lost"))
			pause()
			n.view.LoseReplies(nil)
		default:
			n.stop(pace.IntN(2) == 0)
			pause()
			n.start()
			restarts++
		}
	}
}

func TestClientsThatHopBetweenRestartingNodesOfOneLogGetEveryEventOnce(t *testing.T) {
	for _, protocol := range []ssetest.Protocol{ssetest.HTTP1, ssetest.H2C} {
		t.Run(protocol.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { hop(t, protocol, false) })
		})
	}
	t.Run("detached", func(t *testing.T) {
		if *soak <= 0 {
			t.Skip("takes some real seconds; see TestSoak")
		}
		hop(t, ssetest.HTTP1, true)
	})
}

// hop runs a trial with clients that go from one node of a shared history to
// the next with every connection.
func hop(t *testing.T, protocol ssetest.Protocol, detach bool) {
	tr := newTrial(t, trialFaults(t, 0, maxBytes(protocol), 50*time.Millisecond))
	tr.pause = time.Second
	if detach {
		tr.pause = 200 * time.Millisecond
	}
	var network *ssetest.Network
	around := &ring{dial: dialShort}
	if !detach {
		network = ssetest.NewNetwork(&ssetest.NetworkOptions{Buffer: 4 << 10})
		around.dial = network.DialContext
	}
	log := storetest.NewLog()
	var nodes []*node
	for i := range 3 {
		view, addr := log.View(), fmt.Sprintf("node%d:80", i)
		if detach {
			addr = "127.0.0.1:0"
		}
		nodes = append(nodes, startNode(t, &node{
			protocol: protocol, network: network, addr: addr, view: view,
			options: func() *broker.Options {
				opts := trialOptions(broker.CatchUp)
				opts.Store, opts.Detach = view, detach
				return opts
			},
		}))
		around.addresses = append(around.addresses, nodes[i].addr)
	}
	for range 8 {
		_, s := nodes[0].now()
		transport := s.NewTransport()
		transport.DialContext = tr.faults.Dialer(around.DialContext)
		tr.read("http://ring", transport, len(tr.topics))
	}
	var sent atomic.Int64
	publish := func(ev sse.Event, topics []string) string {
		ev.ID = fmt.Sprint("mine-", sent.Add(1)) // to be published again safely
		for i := sent.Load(); ; i++ {
			b, _ := nodes[i%3].now()
			id, err := b.Publish(t.Context(), ev, topics...)
			if err == nil || errors.Is(err, broker.ErrDuplicate) {
				return id
			}
			time.Sleep(time.Millisecond)
		}
	}
	tr.settle()
	done := make(chan struct{})
	var disturbing sync.WaitGroup
	var restarts atomic.Int64
	for i, n := range nodes {
		pace := rand.New(rand.NewPCG(tr.faults.Seed(), uint64(100+i)))
		disturbing.Go(func() { restarts.Add(int64(disturb(n, pace, tr.pause, done))) })
	}
	tr.publish(5_000, 20, publish)
	close(done)
	disturbing.Wait()
	tr.end(publish)
	delivered := tr.requireAll()
	assert.GreaterOrEqual(t, restarts.Load(), int64(10))
	t.Log(tr.faults, restarts.Load(), "restarts,", delivered, "delivered")
}
