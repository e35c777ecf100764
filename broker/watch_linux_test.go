package broker_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/sse"
	"github.com/fanfare-go/fanfare/sse/ssetest"
)

// dialStream connects to a server on loopback and asks for a stream.
func dialStream(t testing.TB, url string) net.Conn {
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	_, err = conn.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
	require.NoError(t, err)
	return conn
}

func awaitSubscribers(t testing.TB, b *broker.Broker, n int) {
	t.Helper()
	require.Eventually(t, func() bool { return b.Stats().Subscribers == n }, 10*time.Second, time.Millisecond)
}

func TestADetachedSubscriberThatIsIdleHasNoGoroutine(t *testing.T) {
	b := newBroker(t, &broker.Options{Detach: true})
	srv := loopback(t, b)
	before := runtime.NumGoroutine()
	const n = 100
	var conns []net.Conn
	for range n {
		conns = append(conns, dialStream(t, srv.URL))
	}
	awaitSubscribers(t, b, n)
	assert.Eventually(t, func() bool { return runtime.NumGoroutine() < before+n/10 }, 10*time.Second, time.Millisecond)
	for i, conn := range conns {
		switch i % 3 {
		case 0:
			conn.Close()
		case 1:
			require.NoError(t, conn.(*net.TCPConn).CloseWrite())
		default:
			require.NoError(t, conn.(*net.TCPConn).SetLinger(0)) // a reset
			conn.Close()
		}
		if i == n/2 {
			awaitSubscribers(t, b, n-i-1)
		}
	}
	awaitSubscribers(t, b, 0)
	require.NoError(t, b.Shutdown(t.Context()))
	// It says so a moment before it has ended.
	assert.Eventually(t, func() bool { return running("broker.(*watcher).run") == 0 }, 10*time.Second, time.Millisecond)
}

func TestWhatADetachedClientSendsIsOfNoInterest(t *testing.T) {
	b := newBroker(t, &broker.Options{Detach: true})
	srv := loopback(t, b)
	conn := dialStream(t, srv.URL)
	awaitSubscribers(t, b, 1)
	lines := bufio.NewScanner(conn)
	for n := range 100 {
		publish(t, b, n, n)
		for lines.Text() != fmt.Sprint("data: ", n) {
			require.True(t, lines.Scan(), lines.Err())
		}
		_, err := conn.Write(make([]byte, 600)) // none of which may stay unread
		require.NoError(t, err)
	}
	assert.Equal(t, 1, b.Stats().Subscribers)
	conn.Close()
	awaitSubscribers(t, b, 0)
}

func TestAWriteToADetachedClientThatHasGoneIsGivenUp(t *testing.T) {
	b := newBroker(t, &broker.Options{Detach: true, WriteTimeout: time.Hour})
	srv := loopback(t, b)
	conn := dialStream(t, srv.URL)
	awaitSubscribers(t, b, 1)
	event := sse.Event{Data: strings.Repeat("x", 1<<20)}
	for running("broker.(*line).Write") == 0 {
		_, err := b.Publish(t.Context(), event)
		require.NoError(t, err)
		time.Sleep(time.Millisecond)
	}
	require.NoError(t, conn.(*net.TCPConn).CloseWrite()) // and goes on not reading
	awaitSubscribers(t, b, 0)
	assert.Eventually(t, func() bool { return running("broker.(*line).Write") == 0 }, 10*time.Second, time.Millisecond)
}

// The descriptor stays open for as long as the callback takes.
func TestAClientThatHasGoneTakesNoTimeWhileItsSnapshotHangs(t *testing.T) {
	free := make(chan struct{})
	b := newBroker(t, &broker.Options{Detach: true, Snapshot: func(*http.Request, []string) ([]sse.Event, error) {
		<-free
		return nil, nil
	}})
	srv := loopback(t, b)
	conn := dialStream(t, srv.URL)
	awaitSubscribers(t, b, 1)
	_, err := conn.Read(make([]byte, 1)) // the header
	require.NoError(t, err)
	conn.Close()
	awaitSubscribers(t, b, 0)
	runtime.GC() // not while the time is taken
	var before, after syscall.Rusage
	require.NoError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &before))
	time.Sleep(300 * time.Millisecond)
	require.NoError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &after))
	close(free)
	used := time.Duration(after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano())
	assert.Less(t, used, 60*time.Millisecond, "an idle process takes some; one that goes round in circles all it can get")
}

func TestADetachedClientThatSendsAllTheTimeIsCutOff(t *testing.T) {
	b := newBroker(t, &broker.Options{Detach: true})
	conn := dialStream(t, loopback(t, b).URL)
	awaitSubscribers(t, b, 1)
	require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	sent := 0
	for junk := make([]byte, 16<<10); ; {
		n, err := conn.Write(junk)
		sent += n
		if err != nil {
			require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
			break
		}
	}
	assert.Less(t, sent, 64<<20)
	awaitSubscribers(t, b, 0)
}

func TestWhatASocketRefusedIsNotCountedAsSent(t *testing.T) {
	for range 20 {
		b := newBroker(t, &broker.Options{Detach: true, Heartbeat: -1, Store: broker.Discard})
		conn := dialStream(t, loopback(t, b).URL)
		_, err := conn.Read(make([]byte, 1)) // the header
		require.NoError(t, err)
		awaitSubscribers(t, b, 1)
		require.NoError(t, conn.(*net.TCPConn).SetLinger(0)) // closing resets
		before := b.Stats().Bytes
		conn.Close()
		publish(t, b, 1, 1)
		awaitSubscribers(t, b, 0)
		assert.Equal(t, before, b.Stats().Bytes)
	}
}

// A veiled connection changes what is written, as one that encrypts would.
type veiled struct{ *net.TCPConn }

func (v veiled) Write(p []byte) (int, error) {
	q := bytes.Clone(p)
	for i := range q {
		q[i] ^= 0x80
	}
	return v.TCPConn.Write(q)
}

type veiledListener struct{ net.Listener }

func (l veiledListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return veiled{conn.(*net.TCPConn)}, nil
}

func TestNothingGoesPastTheWriteOfAConnectionOfItsOwnKind(t *testing.T) {
	b := newBroker(t, &broker.Options{Detach: true, Store: namedStore(nil), NoPriming: true})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	srv := ssetest.Serve(t, b, &ssetest.ServerOptions{Listener: veiledListener{l}})
	conn := dialStream(t, srv.URL)
	awaitSubscribers(t, b, 1)
	for n := 1; n <= 20; n++ {
		publish(t, b, n, n)
	}
	require.NoError(t, b.Shutdown(t.Context()))
	all, err := io.ReadAll(conn)
	require.NoError(t, err)
	for i := range all {
		all[i] ^= 0x80
	}
	assert.Regexp(t, `(?s)^HTTP/1.1 200 OK.*\r\n\r\n`+regexp.QuoteMeta(blocks(1, 20))+`retry: \d+\n\n$`, string(all))
}
