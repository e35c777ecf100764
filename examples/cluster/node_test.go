package main

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestANodeEndsInOrderThoughAConnectionIsNeverUsed(t *testing.T) {
	t.Parallel()
	e, err := startEngine(t.TempDir())
	require.NoError(t, err)
	t.Cleanup(e.kill)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stdin, _ := io.Pipe()
	stdout, w := io.Pipe()
	defer stdin.Close()
	ended := make(chan error, 1)
	go func() { ended <- serveNode(ctx, e.url(), stdin, w) }()
	addr, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	addr = strings.TrimSpace(addr)

	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer conn.Close()
	resp, err := (&http.Client{Transport: transport(t)}).Get("http://" + addr) // which is accepted after the one above
	require.NoError(t, err)
	defer resp.Body.Close()
	cancel()
	rest, err := io.ReadAll(resp.Body)
	assert.NoError(t, err)
	assert.Regexp(t, `retry: \d+\n\n$`, string(rest), "it is told when to come back")
	assert.NoError(t, <-ended)
}

// nowhere is the URL of a NATS server that is not there.
func nowhere(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, ln.Close())
	return "nats://" + ln.Addr().String()
}

func TestAClusterEndsThoughItsNodesWaitForTheEngine(t *testing.T) {
	t.Parallel()
	c := newCluster(t.Context(), nowhere(t), nil)
	started, closed := make(chan error, 1), make(chan struct{})
	go func() { started <- c.start() }()
	for _, n := range c.nodes {
		require.Eventually(t, func() bool { return len(n.acting) == 1 }, patience, time.Millisecond)
	}
	go func() { defer close(closed); c.close() }()
	select {
	case <-closed:
		assert.Error(t, <-started)
	case <-time.After(patience):
		require.Fail(t, "it waits for the engine")
	}
}

func TestTheCommandSaysThatItWaitsForNATSUntilItIsTold(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stdout, w := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, settings{addr: "127.0.0.1:0", nats: nowhere(t), interval: time.Second}, w) }()
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	assert.Contains(t, line, "Waiting for NATS")
	cancel()
	select {
	case err := <-ended:
		assert.NoError(t, err)
	case <-time.After(patience):
		require.Fail(t, "it does not end")
	}
}
