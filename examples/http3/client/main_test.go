package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
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

func TestPrintsTheNumbersThatComeOverHTTP3(t *testing.T) {
	lines, _, end := follow(t, serve(t, numbers(t, nil)), transport(true))
	for _, n := range []string{"1", "2"} {
		require.True(t, lines.Scan())
		assert.Equal(t, n, lines.Text())
	}
	assert.ErrorIs(t, end(), context.Canceled)
}

func TestAGapIsANoteAndNotANumber(t *testing.T) {
	url := serve(t, numbers(t, func(r *http.Request) { r.Header.Set("Last-Event-ID", "of-another-life") }))
	lines, notes, end := follow(t, url, transport(true))
	for _, n := range []string{"1", "2"} {
		require.True(t, lines.Scan())
		assert.Equal(t, n, lines.Text())
	}
	assert.ErrorIs(t, end(), context.Canceled)
	assert.Equal(t, "connected over HTTP/3.0\nsome numbers are missing\n", notes.String())
}

func TestTheCommandTrustsAnyCertificateOnlyIfItIsTold(t *testing.T) {
	url := serve(t, numbers(t, nil))
	cmd, _, stderr := command(t, "-url", url)
	line, err := stderr.ReadString('\n')
	require.NoError(t, err)
	assert.Contains(t, line, "certificate")
	assert.Contains(t, line, "; trying again in ")
	require.NoError(t, cmd.Process.Kill())

	_, stdout, _ := command(t, "-url", url, "-insecure")
	line, err = stdout.ReadString('\n')
	require.NoError(t, err)
	assert.Equal(t, "1\n", line)
}

// numbers returns a broker that has published 1 and 2. What changes its
// requests may be nil.
func numbers(t *testing.T, change func(*http.Request)) http.Handler {
	t.Helper()
	events := broker.New(&broker.Options{Backlog: -1})
	t.Cleanup(func() { events.Close() })
	for n := range 2 {
		_, err := events.Publish(t.Context(), sse.Event{Data: fmt.Sprint(n + 1)})
		require.NoError(t, err)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if change != nil {
			change(r)
		}
		events.ServeHTTP(w, r)
	})
}

// serve serves h over HTTP/3 until the test ends, and returns its URL.
func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	lender := httptest.NewTLSServer(nil) // of its certificate
	lender.Close()
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	server := &http3.Server{
		Handler:   h,
		TLSConfig: http3.ConfigureTLSConfig(&tls.Config{Certificates: lender.TLS.Certificates}),
	}
	go server.Serve(udp)
	t.Cleanup(func() {
		server.Close()
		udp.Close()
	})
	return "https://" + udp.LocalAddr().String()
}

// follow runs the client, and returns what it prints, the notes it has taken
// once it has ended, and a function that ends it.
func follow(t *testing.T, url string, via *http3.Transport) (lines *bufio.Scanner, notes *strings.Builder, end func() error) {
	t.Helper()
	t.Cleanup(func() { via.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	notes = new(strings.Builder)
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := run(ctx, url, via, w, notes)
		w.Close()
		done <- err
	}()
	return bufio.NewScanner(r), notes, func() error { cancel(); return <-done }
}

// command starts the command in a process of its own, which ends with the test
// or, if it has nothing to print, after a while.
func command(t *testing.T, args ...string) (cmd *exec.Cmd, stdout, stderr *bufio.Reader) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	cmd = exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = append(os.Environ(), "HTTP3_TEST_COMMAND=1", "GORACE=atexit_sleep_ms=0")
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	errs, err := cmd.StderrPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // it was killed
	})
	return cmd, bufio.NewReader(out), bufio.NewReader(errs)
}
