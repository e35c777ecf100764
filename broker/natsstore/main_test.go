package natsstore_test

import (
	"fmt"
	"net"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/broker/natsstore"
	"github.com/fanfare-go/fanfare/sse"
	"github.com/fanfare-go/fanfare/sse/ssetest"
)

func TestMain(m *testing.M) { ssetest.Main(m) }

// An engine is a NATS server in this process, which can go away and come back.
type engine struct {
	t       testing.TB
	options server.Options
	running *server.Server
}

// maxStore is what the streams of a server may reserve together. They use a
// fraction of it, but without a limit of its own a server allows three quarters
// of what is free on the disk, and refuses a stream beyond that.
const maxStore = 1 << 42

// startEngine starts a server with a store of its own; it ends with the test.
func startEngine(t testing.TB) *engine {
	e := &engine{t: t, options: server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT,
		JetStream: true, StoreDir: t.TempDir(), NoSigs: true, MaxPayload: 2 << 20,
		JetStreamMaxStore: maxStore,
	}}
	e.start()
	e.options.Port = e.running.Addr().(*net.TCPAddr).Port // stays over a restart
	t.Cleanup(func() { e.stop() })
	return e
}

func (e *engine) start() {
	e.t.Helper()
	options := e.options
	running, err := server.NewServer(&options)
	require.NoError(e.t, err)
	running.Start()
	require.True(e.t, running.ReadyForConnections(10*time.Second), "the server does not start")
	e.running = running
}

func (e *engine) stop() {
	e.running.Shutdown()
	e.running.WaitForShutdown()
}

func (e *engine) addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(e.options.Port)) }

func (e *engine) url() string { return "nats://" + e.addr() }

// lose takes the stream away.
func (e *engine) lose(name string) {
	e.t.Helper()
	require.NoError(e.t, connect(e.t, e.url()).DeleteStream(e.t.Context(), name))
}

// addForeign puts something into the stream that is no event.
func (e *engine) addForeign(name string) {
	e.t.Helper()
	_, err := connect(e.t, e.url()).Publish(e.t.Context(), name+".other", []byte("other"))
	require.NoError(e.t, err)
}

// remove deletes an event by hand.
func (e *engine) remove(name, id string) {
	e.t.Helper()
	stream, err := connect(e.t, e.url()).Stream(e.t.Context(), name)
	require.NoError(e.t, err)
	var epoch, sequence uint64
	_, err = fmt.Sscanf(id, "%d-%d", &epoch, &sequence)
	require.NoError(e.t, err)
	require.NoError(e.t, stream.DeleteMsg(e.t.Context(), sequence))
}

// hang makes the engine answer nothing.
func (e *engine) hang() { e.stop() }

func (e *engine) unhang() { e.start() }

// connect returns a connection that ends with the test.
func connect(t testing.TB, urls string) jetstream.JetStream {
	nc, err := nats.Connect(urls, nats.MaxReconnects(-1), nats.ReconnectWait(20*time.Millisecond),
		nats.ReconnectJitter(0, 0), nats.RetryOnFailedConnect(true))
	require.NoError(t, err)
	t.Cleanup(nc.Close)
	js, err := jetstream.New(nc, jetstream.WithDefaultTimeout(2*time.Second))
	require.NoError(t, err)
	return js
}

var names atomic.Int64

// newName returns the name of a stream that is not used yet.
func newName() string { return fmt.Sprintf("events-%d", names.Add(1)) }

func open(t testing.TB, js jetstream.JetStream, opts natsstore.Options) *natsstore.Store {
	t.Helper()
	s, err := natsstore.Open(t.Context(), js, &opts)
	require.NoError(t, err)
	return s
}

// newBroker returns a Broker that is closed when the test ends.
func newBroker(t *testing.T, s broker.Store) *broker.Broker {
	b := broker.New(&broker.Options{Store: s, QueueSize: 1024})
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b
}

// waitFor asks again until ok, for so long. Unlike require.Eventually it asks
// in the goroutine of the test, so it leaves none behind.
func waitFor(d time.Duration, ok func() bool) bool {
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if ok() {
			return true
		}
	}
	return false
}

// publish publishes events with the numbers from first to last as data, each
// again until the Store has it, and returns their IDs.
func publish(t *testing.T, b *broker.Broker, first, last int) (ids []string) {
	t.Helper()
	for i := first; i <= last; i++ {
		var id string
		var err error
		require.True(t, waitFor(30*time.Second, func() bool {
			id, err = b.Publish(t.Context(), sse.Event{ID: fmt.Sprintf("number-%d", i), Data: strconv.Itoa(i)}, "a")
			return err == nil || err == broker.ErrDuplicate
		}), "event %d: %v", i, err)
		ids = append(ids, id)
	}
	return ids
}

// numbers returns the numbers from first to last as strings.
func numbers(first, last int) (s []string) {
	for i := first; i <= last; i++ {
		s = append(s, strconv.Itoa(i))
	}
	return s
}
