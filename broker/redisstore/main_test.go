package redisstore_test

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/broker/redisstore"
	"github.com/fanfare-go/fanfare/sse"
	"github.com/fanfare-go/fanfare/sse/ssetest"
)

func TestMain(m *testing.M) { ssetest.Main(m) }

// An engine is a redis-server, which can go away and come back.
type engine struct {
	t       testing.TB
	dir     string
	port    int
	running *exec.Cmd
}

// startEngine starts a server with a folder of its own; it ends with the test.
// Where there is no redis-server the test is skipped, and fails in CI.
func startEngine(t testing.TB) *engine {
	if _, err := exec.LookPath("redis-server"); err != nil {
		const message = "redis-server is not installed: on Debian, apt-get install redis-server"
		if os.Getenv("CI") != "" {
			t.Fatal(message)
		}
		t.Skip(message)
	}
	e := &engine{t: t, dir: t.TempDir(), port: freePort(t)}
	e.start()
	t.Cleanup(func() {
		if e.running != nil {
			e.stop()
		}
	})
	return e
}

func freePort(t testing.TB) int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	return l.Addr().(*net.TCPAddr).Port
}

func (e *engine) start() {
	e.t.Helper()
	var output bytes.Buffer
	e.running = exec.Command("redis-server", "--bind", "127.0.0.1", "--port", strconv.Itoa(e.port),
		"--dir", e.dir, "--appendonly", "yes", "--appendfsync", "no", "--save", "")
	e.running.Stdout, e.running.Stderr = &output, &output
	require.NoError(e.t, e.running.Start())
	client := redis.NewClient(&redis.Options{Addr: e.addr(), MaxRetries: -1})
	defer func() { require.NoError(e.t, client.Close()) }()
	if !waitFor(10*time.Second, func() bool { return client.Ping(e.t.Context()).Err() == nil }) {
		e.stop()
		e.t.Fatalf("redis-server does not start:\n%s", output.String())
	}
}

func (e *engine) stop() {
	// Asked to end it keeps everything; killed it may not.
	_ = e.running.Process.Signal(syscall.SIGTERM)
	_ = e.running.Wait()
	e.running = nil
}

func (e *engine) addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(e.port)) }

// lose takes the stream away.
func (e *engine) lose(name string) {
	e.t.Helper()
	require.NoError(e.t, connect(e.t, e.addr()).FlushAll(e.t.Context()).Err())
}

// addForeign puts something into the stream that is no event.
func (e *engine) addForeign(name string) {
	e.t.Helper()
	client, key := connect(e.t, e.addr()), "{"+name+"}:events"
	newest, err := client.XRevRangeN(e.t.Context(), key, "+", "-", 1).Result()
	require.NoError(e.t, err)
	var ms, sequence uint64
	_, err = fmt.Sscanf(newest[0].ID, "%d-%d", &ms, &sequence)
	require.NoError(e.t, err)
	id := fmt.Sprintf("%d-%d", ms, sequence+1)
	require.NoError(e.t, client.XAdd(e.t.Context(), &redis.XAddArgs{Stream: key, ID: id, Values: []string{"other", "other"}}).Err())
}

// remove deletes an event by hand.
func (e *engine) remove(name, id string) {
	e.t.Helper()
	_, inStream, _ := strings.Cut(id, "-")
	require.NoError(e.t, connect(e.t, e.addr()).XDel(e.t.Context(), "{"+name+"}:events", inStream).Err())
}

// hang makes the engine answer nothing.
func (e *engine) hang() { require.NoError(e.t, e.running.Process.Signal(syscall.SIGSTOP)) }

func (e *engine) unhang() { require.NoError(e.t, e.running.Process.Signal(syscall.SIGCONT)) }

// connect returns a client that ends with the test.
func connect(t testing.TB, addr string) redis.UniversalClient {
	client := redis.NewClient(&redis.Options{Addr: addr, DialTimeout: time.Second, ReadTimeout: 2 * time.Second})
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	return client
}

var names atomic.Int64

// newName returns the name of a stream that is not used yet.
func newName() string { return fmt.Sprintf("events-%d", names.Add(1)) }

func open(t testing.TB, client redis.UniversalClient, opts redisstore.Options) *redisstore.Store {
	t.Helper()
	s, err := redisstore.Open(t.Context(), client, &opts)
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
