package ssetest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/sse/ssetest"
)

// wrapped returns a client's end that goes through f to the server's end.
func wrapped(f *ssetest.Faults) (client net.Conn, server *ssetest.Conn) {
	near, far := ssetest.Pipe(0)
	return f.Conn(near), far
}

func TestAWrappedConnectionHasFaultsToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := only(t, ssetest.FaultCut, 3)
		client, server := wrapped(f)
		defer client.Close()
		defer server.Close()
		io.WriteString(server, "abcdef")
		b, err := io.ReadAll(client)
		require.NoError(t, err)
		assert.Equal(t, "abc", string(b))
		assert.Equal(t, "pipe", client.RemoteAddr().String())
		assert.Equal(t, 1, f.Count(ssetest.FaultCut))

		f = only(t, ssetest.FaultDuplicate, 0)
		client, server = wrapped(f)
		defer client.Close()
		defer server.Close()
		io.WriteString(client, "hello")
		_, err = io.ReadFull(server, make([]byte, 5))
		require.NoError(t, err)
		assert.Zero(t, f.Count(), "there is nothing to dial")
	})
}

func TestWhatTheServerDoesReachesTheClient(t *testing.T) {
	ends := map[string]struct {
		end  func(*ssetest.Conn)
		want error
	}{
		"Close":      {func(c *ssetest.Conn) { c.Close() }, io.EOF},
		"CloseWrite": {func(c *ssetest.Conn) { c.CloseWrite() }, io.EOF},
		"Reset":      {func(c *ssetest.Conn) { c.Reset(); c.Close() }, syscall.ECONNRESET},
	}
	for name, e := range ends {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client, server := wrapped(only(t, ssetest.FaultNone, 0))
				defer client.Close()
				defer server.Close()
				io.WriteString(server, "x")
				_, err := client.Read(make([]byte, 1))
				require.NoError(t, err)
				e.end(server)
				_, err = client.Read(make([]byte, 1))
				assert.ErrorIs(t, err, e.want)
				if name == "CloseWrite" {
					io.WriteString(client, "y")
					_, err = server.Read(make([]byte, 1))
					assert.NoError(t, err)
				}
			})
		})
	}
}

func TestAServerThatOnlyWritesNoticesThatTheClientIsGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client, server := wrapped(only(t, ssetest.FaultNone, 0))
		defer server.Close()
		client.Close()
		require.NoError(t, server.SetWriteDeadline(time.Now().Add(time.Minute)))
		var err error
		for err == nil {
			_, err = server.Write(make([]byte, 1000))
		}
		assert.ErrorIs(t, err, syscall.EPIPE)
	})
}

func TestAServerFeelsThatTheClientDoesNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, server := ssetest.Pipe(1000)
		client := only(t, ssetest.FaultNone, 0).Conn(near)
		defer client.Close()
		defer server.Close()
		require.NoError(t, server.SetWriteDeadline(time.Now().Add(time.Minute)))
		n, err := server.Write(make([]byte, 1<<20))
		assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
		assert.LessOrEqual(t, n, 1000+2*4096, "its buffer, and the relay's two")
	})
}

func TestClosingWhileDiallingLeavesNothingOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := only(t, ssetest.FaultDuplicate, 0)
		var dialled []*ssetest.Conn
		var mu sync.Mutex // guards dialled
		c, err := f.Dialer(func(context.Context, string, string) (net.Conn, error) {
			mu.Lock()
			near, far := ssetest.Pipe(0)
			dialled = append(dialled, far)
			second := len(dialled) == 2
			mu.Unlock()
			if second {
				time.Sleep(time.Minute) // as if it did not heed ctx
			}
			return near, nil
		})(t.Context(), "tcp", "server:1")
		require.NoError(t, err)
		defer c.Close()
		synctest.Wait()
		f.Close()
		for _, far := range dialled {
			_, err := io.ReadAll(far)
			assert.NoError(t, err)
			far.Close()
		}
		assert.Len(t, dialled, 2)
	})
}

func TestADuplicateThatCannotBeDialledIsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := only(t, ssetest.FaultDuplicate, 0)
		var server *ssetest.Conn
		c, err := f.Dialer(func(context.Context, string, string) (net.Conn, error) {
			if server != nil {
				return nil, errors.New("refused")
			}
			near, far := ssetest.Pipe(0)
			server = far
			return near, nil
		})(t.Context(), "tcp", "server:1")
		require.NoError(t, err)
		defer c.Close()
		defer server.Close()
		io.WriteString(server, "x")
		_, err = c.Read(make([]byte, 1))
		assert.NoError(t, err)
		assert.Zero(t, f.Count())
	})
}

// failed is a test that has failed.
type failed struct {
	testing.TB
	cleanup func()
	log     string
}

func (f *failed) Cleanup(fn func())               { f.cleanup = fn }
func (f *failed) Failed() bool                    { return true }
func (f *failed) Logf(format string, args ...any) { f.log += fmt.Sprintf(format, args...) }

func TestAFailedTestPrintsItsSeed(t *testing.T) {
	tb := &failed{TB: t}
	ssetest.NewFaults(tb, &ssetest.FaultOptions{Seed: 42})
	tb.cleanup()
	assert.Equal(t, "ssetest: faults of seed 42: 0 connections; SSETEST_SEED=42 repeats them", tb.log)
}
