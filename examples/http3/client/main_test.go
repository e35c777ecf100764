package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/sse"
)

func TestPrintsTheNumbersThatComeOverHTTP3(t *testing.T) {
	events := broker.New(&broker.Options{Backlog: -1})
	defer events.Close()
	for _, n := range []string{"1", "2"} {
		_, err := events.Publish(t.Context(), sse.Event{Data: n})
		require.NoError(t, err)
	}
	lender := httptest.NewTLSServer(nil) // of its certificate
	defer lender.Close()
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	require.NoError(t, err)
	defer udp.Close()
	server := &http3.Server{
		Handler:   events,
		TLSConfig: http3.ConfigureTLSConfig(&tls.Config{Certificates: lender.TLS.Certificates}),
	}
	defer server.Close()
	go server.Serve(udp)
	transport := &http3.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	defer transport.Close()

	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := run(ctx, "https://"+udp.LocalAddr().String(), transport, w)
		w.Close()
		done <- err
	}()
	numbers := bufio.NewScanner(r)
	for _, n := range []string{"1", "2"} {
		require.True(t, numbers.Scan())
		assert.Equal(t, n, numbers.Text())
	}
	cancel()
	assert.ErrorIs(t, <-done, context.Canceled)
}
