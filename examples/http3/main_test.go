package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/client"
	"github.com/fanfare-go/fanfare/sse"
)

// TestMain is the command itself in the processes that a test starts.
func TestMain(m *testing.M) {
	if os.Getenv("HTTP3_TEST_COMMAND") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

func TestNothingIsMissedOrRepeatedThoughConnectionsBreak(t *testing.T) {
	t.Parallel()
	const clients, drops, each = 4, 5, 60
	server, _ := start(t, time.Millisecond)
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			transport, drop := newTransport(t)
			protos := map[string]int{}
			var c *client.Client
			c = client.New("https://"+server+"/events", &client.Options{
				HTTPClient: &http.Client{Transport: transport},
				OnConnect:  func(resp *http.Response) { protos[resp.Proto]++ },
				OnRetry:    func(error, time.Duration) { c.Reconnect() }, // at once, without the wait
			})
			want, got := 0, 0
			for ev, err := range c.Events(t.Context()) {
				if !assert.NoError(t, err) {
					return
				}
				if want == 0 {
					want, err = strconv.Atoi(ev.Data) // it starts anywhere
					assert.NoError(t, err)
				}
				if !assert.Equal(t, sse.Event{ID: ev.ID, Data: strconv.Itoa(want)}, ev) {
					return
				}
				want++
				if got++; got%each == 0 {
					drop()
				}
				if got > drops*each+each/2 {
					break
				}
			}
			assert.Equal(t, map[string]int{"HTTP/3.0": drops + 1}, protos)
		})
	}
	all.Wait()
}

func TestOverTCPThereIsHTTP2AndWordOfHTTP3(t *testing.T) {
	server, _ := start(t, time.Hour)
	transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer transport.CloseIdleConnections()
	_, port, _ := net.SplitHostPort(server)
	// The first requests may come before there is HTTP/3.
	require.EventuallyWithT(t, func(t *assert.CollectT) {
		resp, err := (&http.Client{Transport: transport}).Get("https://" + server + "/")
		require.NoError(t, err)
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		assert.NoError(t, err)
		assert.Equal(t, "HTTP/2.0", resp.Proto)
		assert.Contains(t, resp.Header.Get("Alt-Svc"), `h3=":`+port+`"`)
		assert.Contains(t, string(body), `new EventSource("/events"`)
	}, 5*time.Second, 10*time.Millisecond)
}

func TestTheEndOfTheServerEndsStreamsCleanly(t *testing.T) {
	server, stop := start(t, 10*time.Millisecond)
	transport, _ := newTransport(t)
	var reading, begun sync.WaitGroup
	begun.Add(20)
	for range 20 {
		resp, err := (&http.Client{Transport: transport}).Get("https://" + server + "/events")
		require.NoError(t, err)
		defer resp.Body.Close()
		reading.Go(func() {
			d := sse.NewDecoder(resp.Body)
			_, err := d.Decode()
			assert.NoError(t, err)
			begun.Done()
			for _, err := range d.Events() {
				assert.NoError(t, err)
			}
			assert.Greater(t, d.Retry(), time.Second, "spread")
		})
	}
	begun.Wait()
	began := time.Now()
	assert.NoError(t, stop())
	assert.Less(t, time.Since(began), grace)
	reading.Wait()
}

func TestASubscriberIsGoneWithItsConnection(t *testing.T) {
	events := broker.New(nil)
	defer events.Close()
	server := serve(t, events)
	transport, drop := newTransport(t)
	resp, err := (&http.Client{Transport: transport}).Get(server)
	require.NoError(t, err)
	defer resp.Body.Close()
	assert.Equal(t, 1, events.Stats().Subscribers)
	drop()
	assert.Eventually(t, func() bool { return events.Stats().Subscribers == 0 }, 5*time.Second, time.Millisecond)
}

func TestAWriteToAClientThatDoesNotReadFailsInTime(t *testing.T) {
	failed := make(chan error, 1)
	server := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		stream, err := sse.NewWriter(w, r, &sse.WriterOptions{WriteTimeout: 200 * time.Millisecond})
		for err == nil {
			err = stream.Send(sse.Event{Data: strings.Repeat("x", 10_000)})
		}
		failed <- err
	}))
	transport, _ := newTransport(t)
	resp, err := (&http.Client{Transport: transport}).Get(server)
	require.NoError(t, err)
	defer resp.Body.Close()
	select {
	case err := <-failed:
		assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
	case <-time.After(10 * time.Second):
		assert.Fail(t, "it blocks")
	}
}

func TestAnIdleStreamOutlivesItsWriteTimeout(t *testing.T) {
	const timeout = 20 * time.Millisecond
	server := serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		stream, err := sse.NewWriter(w, r, &sse.WriterOptions{WriteTimeout: timeout, Heartbeat: 5 * timeout})
		if err == nil {
			stream.SendAll(r.Context(), nil) // which never sends
		}
	}))
	transport, _ := newTransport(t)
	resp, err := (&http.Client{Transport: transport}).Get(server)
	require.NoError(t, err)
	defer resp.Body.Close()
	assert.Equal(t, sse.MediaType, resp.Header.Get("Content-Type"))
	beats := bufio.NewScanner(resp.Body)
	for range 4 {
		require.True(t, beats.Scan(), "%v", beats.Err())
	}
}

func TestTheCommandEndsOnSignals(t *testing.T) {
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		t.Run(sig.String(), func(t *testing.T) {
			cmd := exec.Command(os.Args[0], "-addr", "127.0.0.1:0", "-interval", "1ms")
			cmd.Env = append(os.Environ(), "HTTP3_TEST_COMMAND=1", "GORACE=atexit_sleep_ms=0")
			stdout, err := cmd.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, cmd.Start())
			t.Cleanup(func() { cmd.Process.Kill() })
			transport, _ := newTransport(t)
			resp, err := (&http.Client{Transport: transport}).Get("https://" + addressFrom(t, stdout) + "/events")
			require.NoError(t, err)
			defer resp.Body.Close()
			require.NoError(t, cmd.Process.Signal(sig))
			_, err = io.Copy(io.Discard, resp.Body)
			assert.NoError(t, err)
			assert.NoError(t, cmd.Wait())
		})
	}
}

// newTransport returns a transport over HTTP/3, and a function that breaks its
// connections.
func newTransport(t *testing.T) (_ *http3.Transport, drop func()) {
	var mu sync.Mutex // guards conns
	var conns []*quic.Conn
	transport := &http3.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
		Dial: func(ctx context.Context, addr string, tc *tls.Config, qc *quic.Config) (*quic.Conn, error) {
			conn, err := quic.DialAddrEarly(ctx, addr, tc, qc)
			if err == nil {
				mu.Lock()
				defer mu.Unlock()
				conns = append(conns, conn)
			}
			return conn, err
		},
	}
	t.Cleanup(func() { transport.Close() })
	return transport, func() {
		mu.Lock()
		defer mu.Unlock()
		for _, conn := range conns {
			conn.CloseWithError(0x10c, "dropped")
		}
		conns = nil
	}
}

// serve serves h over HTTP/3 until the test ends, and returns its URL.
func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	cert, err := selfSigned()
	require.NoError(t, err)
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	server := &http3.Server{
		Handler:   h,
		TLSConfig: http3.ConfigureTLSConfig(&tls.Config{Certificates: []tls.Certificate{cert}}),
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(udp) }()
	t.Cleanup(func() {
		server.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			assert.NoError(t, err)
		}
		udp.Close()
	})
	return "https://" + udp.LocalAddr().String()
}

// start runs a server, and returns its address and a function that ends it.
func start(t *testing.T, interval time.Duration) (addr string, stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- run(ctx, "127.0.0.1:0", interval, w) }()
	stop = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() { assert.NoError(t, stop()) })
	return addressFrom(t, r), stop
}

// addressFrom reads the address from what the command prints.
func addressFrom(t *testing.T, stdout io.Reader) string {
	t.Helper()
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	match := regexp.MustCompile(`^Counting at https://([^/]+)/, every \S+\. Ctrl-C ends it\.\n$`).FindStringSubmatch(line)
	require.NotNil(t, match, line)
	return match[1]
}
