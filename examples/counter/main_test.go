package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/client"
	"github.com/fanfare-go/fanfare/sse"
	"github.com/fanfare-go/fanfare/sse/ssetest"
)

// TestMain is the command itself in the processes that command starts.
func TestMain(m *testing.M) {
	if os.Getenv("COUNTER_TEST_COMMAND") != "" {
		main()
		return
	}
	ssetest.Main(m)
}

func TestEveryNumberArrivesOnceThoughConnectionsBreak(t *testing.T) {
	t.Parallel()
	const clients, numbers = 4, 1000
	server, _ := start(t, time.Millisecond)
	faults := ssetest.NewFaults(t, &ssetest.FaultOptions{
		Kinds:    []ssetest.Fault{ssetest.FaultCut, ssetest.FaultReset},
		MaxBytes: 2500, // within a few dozen numbers, or even before the first
	})
	proxy := faults.Proxy(server, nil)
	var all sync.WaitGroup
	for range clients {
		all.Go(func() {
			var c *client.Client
			c = client.New(streamAt(proxy.Addr), &client.Options{
				OnRetry: func(error, time.Duration) { c.Reconnect() }, // at once, without the wait
			})
			want := 0
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
				if want++; want > numbers {
					break
				}
			}
		})
	}
	all.Wait()
	assert.Greater(t, faults.Count(), 10*clients)
}

func TestWithTLSManyStreamsShareOneConnectionOfHTTP2(t *testing.T) {
	server, stop := startAs(t, time.Millisecond, true)
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
	defer transport.CloseIdleConnections()
	var dialed atomic.Int32
	transport.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		dialed.Add(1)
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
	resp, err := transport.RoundTrip(httptest.NewRequest(http.MethodGet, "https://"+server+"/", nil))
	require.NoError(t, err)
	resp.Body.Close()
	assert.Equal(t, "HTTP/2.0", resp.Proto)

	var all sync.WaitGroup
	for range 20 { // a browser's limit over HTTP/1.1 is six
		all.Go(func() {
			want := 0
			c := client.New("https://"+server+"/events?stream=messages", &client.Options{
				HTTPClient: &http.Client{Transport: transport},
			})
			for ev, err := range c.Events(t.Context()) {
				if !assert.NoError(t, err) {
					return
				}
				n, err := strconv.Atoi(ev.Data)
				assert.NoError(t, err)
				if want > 0 && !assert.Equal(t, want, n) {
					return
				}
				if want = n + 1; want > 200 {
					return
				}
			}
		})
	}
	all.Wait()
	assert.EqualValues(t, 1, dialed.Load())
	assert.NoError(t, stop())
}

func TestAPageThatOpensANewStreamMissesNothing(t *testing.T) {
	server, _ := start(t, time.Millisecond)
	old := read(t, streamAt(server), 10)[9]
	time.Sleep(20 * time.Millisecond)
	last, err := strconv.Atoi(old.Data)
	require.NoError(t, err)
	for i, ev := range read(t, streamAt(server)+"&lastEventId="+url.QueryEscape(old.ID), 50) {
		require.Equal(t, strconv.Itoa(last+1+i), ev.Data)
	}
}

func TestAPageThatOutlivesTheServerIsToldOfTheGap(t *testing.T) {
	server, _ := start(t, time.Millisecond)
	events := read(t, streamAt(server)+"&lastEventId=of-another-life", 4)
	assert.Equal(t, "gap", events[0].Type)
	for i, ev := range events[1:] {
		assert.Equal(t, strconv.Itoa(i+1), ev.Data, "all that the new server has counted")
	}
}

func TestThereIsOnePageAndOneStream(t *testing.T) {
	server, _ := start(t, time.Hour)
	for path, want := range map[string]int{
		"/":                     http.StatusOK,
		"/index.html":           http.StatusNotFound,
		"/favicon.ico":          http.StatusNotFound,
		"/events":               http.StatusBadRequest,
		"/events?stream=others": http.StatusNotFound,
	} {
		resp, err := http.Get("http://" + server + path)
		require.NoError(t, err)
		resp.Body.Close()
		assert.Equal(t, want, resp.StatusCode, path)
	}
}

func TestThePageOpensTheStream(t *testing.T) {
	server, _ := start(t, time.Hour)
	resp, err := http.Get("http://" + server + "/")
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	assert.Equal(t, "text/html; charset=utf-8", resp.Header.Get("Content-Type"))
	assert.Contains(t, resp.Header.Get("Content-Security-Policy"), "default-src 'none'; connect-src 'self'")
	assert.Contains(t, resp.Header.Get("Content-Security-Policy"), "frame-ancestors 'none'")
	assert.Contains(t, string(body), `new EventSource("/events?stream=messages")`)
}

func TestTheEndOfTheServerEndsStreamsCleanly(t *testing.T) {
	server, stop := start(t, 10*time.Millisecond)
	var streams []io.Reader
	for range 20 {
		resp, err := http.Get(streamAt(server))
		require.NoError(t, err)
		defer resp.Body.Close()
		streams = append(streams, resp.Body)
	}
	began := time.Now()
	assert.NoError(t, stop())
	assert.Less(t, time.Since(began), time.Second)
	for _, stream := range streams {
		_, err := io.Copy(io.Discard, stream)
		assert.NoError(t, err)
	}
	_, err := http.Get("http://" + server)
	assert.ErrorIs(t, err, syscall.ECONNREFUSED)
}

func TestAConnectionThatIsNeverUsedDelaysTheEndByGraceAtMost(t *testing.T) {
	t.Parallel()
	server, stop := start(t, time.Hour)
	conn, err := net.Dial("tcp", server)
	require.NoError(t, err)
	defer conn.Close()
	resp, err := http.Get("http://" + server) // which is accepted after the one above
	require.NoError(t, err)
	resp.Body.Close()

	began := time.Now()
	assert.NoError(t, stop())
	assert.Less(t, time.Since(began), grace+time.Second)
}

func TestRunSaysWhatIsWrong(t *testing.T) {
	server, _ := start(t, time.Hour)
	assert.ErrorIs(t, run(t.Context(), server, time.Hour, false, io.Discard), syscall.EADDRINUSE)
	for _, interval := range []time.Duration{0, -time.Second} {
		err := run(t.Context(), "127.0.0.1:0", interval, false, io.Discard)
		assert.EqualError(t, err, "-interval is "+interval.String()+", and must be positive")
	}
}

func TestTheCommandPrintsAnAddressToConnectTo(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	for addr, want := range map[string]string{
		"localhost:0": "localhost:" + port,
		"127.0.0.1:0": "127.0.0.1:" + port,
		":0":          "localhost:" + port,
		"0.0.0.0:0":   "localhost:" + port,
		"[::]:0":      "localhost:" + port,
		"[::1]:0":     "[::1]:" + port,
	} {
		assert.Equal(t, want, address(ln, addr), addr)
	}
}

func TestTheCommandEndsOnSignals(t *testing.T) {
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		t.Run(sig.String(), func(t *testing.T) {
			cmd, stdout := command(t, "-addr", "localhost:0", "-interval", "1ms")
			resp, err := http.Get(streamAt(addressFrom(t, stdout)))
			require.NoError(t, err)
			defer resp.Body.Close()

			began := time.Now()
			require.NoError(t, cmd.Process.Signal(sig))
			_, err = io.Copy(io.Discard, resp.Body)
			assert.NoError(t, err)
			assert.NoError(t, cmd.Wait())
			assert.Less(t, time.Since(began), time.Second)
		})
	}
}

func TestTheCommandFailsIfThePortIsTaken(t *testing.T) {
	server, _ := start(t, time.Hour)
	cmd, _ := command(t, "-addr", server)
	var exit *exec.ExitError
	require.ErrorAs(t, cmd.Wait(), &exit)
	assert.Equal(t, 1, exit.ExitCode())
	assert.Contains(t, cmd.Stderr.(*strings.Builder).String(), "address already in use")
}

// start runs a server, and returns its address and a function that ends it.
func start(t *testing.T, interval time.Duration) (addr string, stop func() error) {
	t.Helper()
	return startAs(t, interval, false)
}

func startAs(t *testing.T, interval time.Duration, secure bool) (addr string, stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- run(ctx, "127.0.0.1:0", interval, secure, w) }()
	stop = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() { assert.NoError(t, stop()) })
	return addressFrom(t, r), stop
}

// addressFrom reads the address from what the command prints.
func addressFrom(t *testing.T, stdout io.Reader) string {
	t.Helper()
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	match := regexp.MustCompile(`^Counting at https?://([^/]+)/, every \S+\. Ctrl-C ends it\.\n$`).FindStringSubmatch(line)
	require.NotNil(t, match, line)
	return match[1]
}

func streamAt(addr string) string { return "http://" + addr + "/events?stream=messages" }

// command starts the command in a process of its own.
func command(t *testing.T, args ...string) (*exec.Cmd, io.Reader) {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), "COUNTER_TEST_COMMAND=1", "GORACE=atexit_sleep_ms=0")
	cmd.Stderr = new(strings.Builder)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { cmd.Process.Kill() })
	return cmd, stdout
}

// read returns the first n events of a stream.
func read(t *testing.T, url string, n int) []sse.Event {
	t.Helper()
	var events []sse.Event
	for ev, err := range client.New(url, nil).Events(t.Context()) {
		require.NoError(t, err)
		if events = append(events, ev); len(events) == n {
			break
		}
	}
	require.Len(t, events, n)
	return events
}
