package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
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

func TestComesBackWhenTheServerDoes(t *testing.T) {
	addr, kill := serve(t, "127.0.0.1:0")
	r, w := io.Pipe()
	notes := new(notepad)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- run(ctx, streamAt(addr), http.DefaultTransport, &display{out: w, notes: notes}) }()
	lines := bufio.NewScanner(r)
	next := func() int {
		require.True(t, lines.Scan())
		n, err := strconv.Atoi(lines.Text())
		require.NoError(t, err)
		return n
	}

	last := next()
	for range 100 {
		n := next()
		require.Equal(t, last+1, n)
		last = n
	}
	kill()
	serve(t, addr)
	for restarted := false; !restarted || last < 100; {
		n := next()
		if n == 1 { // the new server starts over
			last, restarted = 0, true
		}
		require.Equal(t, last+1, n)
		last = n
	}

	cancel()
	r.Close() // run may be waiting for a reader
	assert.NoError(t, <-done)
	assert.Regexp(t, `; trying again in \d+\w+\n(.|\n)*connected again\nthe server no longer has `, notes.String())
}

func TestSaysWhoItIs(t *testing.T) {
	var got http.Header
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Header
		w.WriteHeader(http.StatusNoContent) // the stream is over
	}))
	defer server.Close()
	assert.NoError(t, run(t.Context(), server.URL, http.DefaultTransport, &display{}))
	assert.Equal(t, []string{"fanfare-counter"}, got["User-Agent"])
}

func TestTheCommandTrustsAnyCertificateOnlyIfItIsTold(t *testing.T) {
	events := broker.New(&broker.Options{Backlog: 1})
	defer events.Close()
	_, err := events.Publish(t.Context(), sse.Event{Data: "7"})
	require.NoError(t, err)
	server := httptest.NewUnstartedServer(events)
	server.EnableHTTP2 = true
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes
	server.StartTLS()
	defer server.Close()
	defer events.Close()

	r, w := io.Pipe()
	notes := bufio.NewScanner(r)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		err := run(ctx, server.URL, transport(false), &display{out: io.Discard, notes: w})
		w.Close()
		done <- err
	}()
	assert.True(t, notes.Scan())
	assert.Contains(t, notes.Text(), "certificate")
	cancel()
	r.Close()
	assert.NoError(t, <-done)

	cmd, stdout := command(t, "-url", server.URL, "-insecure")
	defer time.AfterFunc(10*time.Second, func() { cmd.Process.Kill() }).Stop() // or it tries for ever
	line, err := bufio.NewReader(stdout).ReadString('\n')
	assert.NoError(t, err)
	assert.Equal(t, "7\n", line)
}

func TestOnATerminalEachNumberReplacesTheOneBefore(t *testing.T) {
	var screen bytes.Buffer
	d := &display{out: &screen, notes: &screen, inPlace: true}
	d.note("connecting")
	assert.NoError(t, d.number("99"))
	assert.NoError(t, d.number("100"))
	d.note("lost")
	assert.NoError(t, d.number("1"))
	d.endLine()
	assert.Equal(t, "connecting\n\r99        \r100       \nlost\n\r1         \n", screen.String())
}

func TestTheCommandPrintsLinesIntoAPipeUntilASignal(t *testing.T) {
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		t.Run(sig.String(), func(t *testing.T) {
			addr, _ := serve(t, "127.0.0.1:0")
			cmd, stdout := command(t, "-url", streamAt(addr))
			lines := bufio.NewScanner(stdout)
			require.True(t, lines.Scan())
			_, err := strconv.Atoi(lines.Text())
			require.NoError(t, err)

			began := time.Now()
			require.NoError(t, cmd.Process.Signal(sig))
			for lines.Scan() {
			}
			assert.NoError(t, cmd.Wait())
			assert.Less(t, time.Since(began), time.Second)
			assert.Empty(t, cmd.Stderr.(*strings.Builder).String())
		})
	}
}

func TestTheCommandFailsWhereTryingAgainIsFutile(t *testing.T) {
	addr, _ := serve(t, "127.0.0.1:0")
	for url, want := range map[string]string{
		streamAt(addr) + "-of-others": "404",
		"localhost:8080/events":       "localhost:8080/events",
	} {
		cmd, _ := command(t, "-url", url)
		var exit *exec.ExitError
		require.ErrorAs(t, cmd.Wait(), &exit)
		assert.Equal(t, 1, exit.ExitCode())
		assert.Contains(t, cmd.Stderr.(*strings.Builder).String(), want)
	}
}

func streamAt(addr string) string { return "http://" + addr + "/events?stream=messages" }

// serve counts at addr, like examples/counter but faster, until the test ends
// or kill is called. It returns the address that it really got.
func serve(t *testing.T, addr string) (_ string, kill func()) {
	t.Helper()
	ln, err := net.Listen("tcp", addr)
	require.NoError(t, err)
	events := broker.New(&broker.Options{
		Topics: broker.QueryTopics("stream", "messages"),
		Retry:  10 * time.Millisecond,
	})
	server := &http.Server{Handler: events}
	var running sync.WaitGroup
	running.Go(func() { server.Serve(ln) })
	running.Go(func() {
		for n := 1; ; n++ {
			_, err := events.Publish(t.Context(), sse.Event{Data: strconv.Itoa(n)}, "messages")
			if err != nil {
				return // closed
			}
			time.Sleep(time.Millisecond)
		}
	})
	kill = func() {
		server.Close()
		events.Close()
		running.Wait()
	}
	t.Cleanup(kill)
	return ln.Addr().String(), kill
}

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

// notepad is a buffer that may be read while it is being written.
type notepad struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (n *notepad) Write(p []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.buf.Write(p)
}

func (n *notepad) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.buf.String()
}
