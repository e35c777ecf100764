package main

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

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
