package ssetest_test

import (
	"io"
	"net"
	"net/http"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/sse/ssetest"
)

func loopback(t *testing.T) net.Listener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return l
}

func TestFaultsOnRealSockets(t *testing.T) {
	l := loopback(t)
	got, ended := alphabet(t, l)
	open := func(kind ssetest.Fault) (net.Conn, *ssetest.Faults) {
		f := only(t, kind, 5)
		p := f.Proxy(l.Addr().String(), nil)
		c, err := net.Dial("tcp", p.Addr)
		require.NoError(t, err)
		t.Cleanup(func() { c.Close() })
		io.WriteString(c, "hello\n")
		assert.Equal(t, "hello\n", <-got)
		return c, f
	}

	c, f := open(ssetest.FaultCut)
	b, err := io.ReadAll(c)
	require.NoError(t, err)
	assert.Equal(t, "abcde", string(b))
	assert.Error(t, <-ended)
	assert.Equal(t, 1, f.Count(ssetest.FaultCut))

	c, f = open(ssetest.FaultReset)
	_, err = io.ReadAll(c)
	assert.ErrorIs(t, err, syscall.ECONNRESET)
	assert.ErrorIs(t, <-ended, syscall.ECONNRESET)
	assert.Equal(t, 1, f.Count())

	c, f = open(ssetest.FaultHalfClose)
	b, err = io.ReadAll(c)
	require.NoError(t, err)
	assert.Equal(t, "abcde", string(b))
	io.WriteString(c, "still there?\n")
	assert.Equal(t, "still there?\n", <-got)
	c.Close()
	assert.Error(t, <-ended)
	assert.Equal(t, 1, f.Count())
}

func TestAStreamThroughAFaultyListenerOnLoopback(t *testing.T) {
	f := ssetest.NewFaults(t, &ssetest.FaultOptions{Seed: 3, MaxBytes: 2 << 10, MaxPause: 1,
		Kinds: []ssetest.Fault{ssetest.FaultCut, ssetest.FaultReset, ssetest.FaultGarbage, ssetest.FaultTrickle}})
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, r.RemoteAddr)
		w.Write(make([]byte, 2<<10))
	})
	srv := ssetest.Serve(t, handler, &ssetest.ServerOptions{Listener: f.Listener(loopback(t))})
	whole, broken := 0, 0
	for range 200 {
		res, err := srv.Client().Get(srv.URL)
		if err == nil {
			var b []byte
			b, err = io.ReadAll(res.Body)
			res.Body.Close()
			if err == nil {
				assert.Equal(t, "127.0.0.1:", string(b[:10]), "the client's address")
			}
		}
		if err == nil {
			whole++
		} else {
			broken++
		}
	}
	assert.Positive(t, whole)
	assert.Positive(t, broken)
	assert.Positive(t, f.Count(ssetest.FaultGarbage))
	assert.Positive(t, f.Count(ssetest.FaultTrickle))
}
