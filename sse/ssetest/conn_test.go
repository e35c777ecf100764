package ssetest_test

import (
	"bytes"
	"errors"
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

func TestAWriterBlocksOnceTheBufferIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := ssetest.Pipe(1000)
		wrote := make(chan int, 1)
		go func() { // joined by the receive below
			n, err := a.Write(bytes.Repeat([]byte("x"), 1001))
			assert.NoError(t, err)
			wrote <- n
		}()
		synctest.Wait()
		assert.Empty(t, wrote)

		one := make([]byte, 1)
		_, err := b.Read(one)
		require.NoError(t, err)
		assert.Equal(t, 1001, <-wrote)

		require.NoError(t, a.SetWriteDeadline(time.Now().Add(time.Minute)))
		n, err := a.Write([]byte("y"))
		assert.Equal(t, 0, n)
		assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
	})
}

func TestAnUnboundedBufferNeverBlocks(t *testing.T) {
	a, b := ssetest.Pipe(-1)
	big := bytes.Repeat([]byte("0123456789"), 1<<17)
	n, err := a.Write(big)
	require.NoError(t, err)
	assert.Equal(t, len(big), n)
	a.Close()
	got, err := io.ReadAll(b)
	require.NoError(t, err)
	assert.True(t, bytes.Equal(big, got))
}

func TestBytesArriveInOrderThroughASmallBuffer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := ssetest.Pipe(7)
		want := bytes.Repeat([]byte("abcdefghijk"), 1000)
		go func() { // ends when all is read
			for p := want; len(p) > 0; {
				k := min(13, len(p))
				a.Write(p[:k])
				p = p[k:]
			}
			a.Close()
		}()
		got, err := io.ReadAll(iotestHalves{b})
		require.NoError(t, err)
		assert.True(t, bytes.Equal(want, got))
	})
}

// iotestHalves reads at most five bytes at a time.
type iotestHalves struct{ r io.Reader }

func (h iotestHalves) Read(p []byte) (int, error) { return h.r.Read(p[:min(5, len(p))]) }

func TestConcurrentWritesDoNotMix(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := ssetest.Pipe(3)
		var writers sync.WaitGroup
		for _, line := range []string{"aaaaaaaa\n", "bbbbbbbb\n", "cccccccc\n", "dddddddd\n"} {
			writers.Go(func() {
				for range 50 {
					a.Write([]byte(line))
				}
			})
		}
		go func() { // ends with the writers
			writers.Wait()
			a.Close()
		}()
		got, err := io.ReadAll(b)
		require.NoError(t, err)
		lines := bytes.Split(bytes.TrimSuffix(got, []byte("\n")), []byte("\n"))
		assert.Len(t, lines, 200)
		for _, l := range lines {
			assert.Equal(t, bytes.Repeat(l[:1], 8), l)
		}
	})
}

func TestCloseWriteEndsOneDirectionAfterItsBytes(t *testing.T) {
	a, b := ssetest.Pipe(0)
	a.Write([]byte("last"))
	require.NoError(t, a.CloseWrite())
	_, err := a.Write([]byte("more"))
	assert.ErrorIs(t, err, syscall.EPIPE)

	got, err := io.ReadAll(b)
	require.NoError(t, err)
	assert.Equal(t, "last", string(got))

	b.Write([]byte("answer"))
	b.Close()
	got, err = io.ReadAll(a)
	require.NoError(t, err)
	assert.Equal(t, "answer", string(got))
}

func TestCloseEndsBothDirectionsOfBothEnds(t *testing.T) {
	a, b := ssetest.Pipe(0)
	a.Write([]byte("kept"))
	b.Write([]byte("lost"))
	require.NoError(t, a.Close())
	require.NoError(t, a.Close())

	_, err := a.Read(make([]byte, 9))
	assert.ErrorIs(t, err, net.ErrClosed)
	_, err = a.Write([]byte("x"))
	assert.ErrorIs(t, err, net.ErrClosed)
	assert.ErrorIs(t, a.SetDeadline(time.Now()), net.ErrClosed)
	assert.ErrorIs(t, a.SetWriteDeadline(time.Now()), net.ErrClosed)

	_, err = b.Write([]byte("x"))
	assert.ErrorIs(t, err, syscall.EPIPE)
	got, err := io.ReadAll(b)
	require.NoError(t, err)
	assert.Equal(t, "kept", string(got))
}

func TestResetBreaksBothEndsAndLosesWhatWasInBetween(t *testing.T) {
	a, b := ssetest.Pipe(0)
	a.Write([]byte("lost"))
	a.Reset()
	for _, c := range []*ssetest.Conn{a, b} {
		_, err := c.Read(make([]byte, 9))
		assert.ErrorIs(t, err, syscall.ECONNRESET)
		_, err = c.Write([]byte("x"))
		assert.ErrorIs(t, err, syscall.ECONNRESET)
		c.Close()
		_, err = c.Read(make([]byte, 9))
		assert.ErrorIs(t, err, net.ErrClosed)
	}
}

func TestEveryWayToEndFreesBlockedCalls(t *testing.T) {
	past := time.Unix(1, 0)
	ways := map[string]struct {
		end         func(own, other *ssetest.Conn)
		read, write error // of own
	}{
		"own Close":         {func(own, _ *ssetest.Conn) { own.Close() }, net.ErrClosed, net.ErrClosed},
		"other Close":       {func(_, other *ssetest.Conn) { other.Close() }, io.EOF, syscall.EPIPE},
		"own Reset":         {func(own, _ *ssetest.Conn) { own.Reset() }, syscall.ECONNRESET, syscall.ECONNRESET},
		"other Reset":       {func(_, other *ssetest.Conn) { other.Reset() }, syscall.ECONNRESET, syscall.ECONNRESET},
		"past deadline":     {func(own, _ *ssetest.Conn) { own.SetDeadline(past) }, os.ErrDeadlineExceeded, os.ErrDeadlineExceeded},
		"deadline to come":  {func(own, _ *ssetest.Conn) { own.SetDeadline(time.Now().Add(time.Hour)) }, os.ErrDeadlineExceeded, os.ErrDeadlineExceeded},
		"deadline replaced": {func(own, _ *ssetest.Conn) { own.SetDeadline(time.Now().Add(time.Hour)); own.SetDeadline(past) }, os.ErrDeadlineExceeded, os.ErrDeadlineExceeded},
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				own, other := ssetest.Pipe(4)
				defer own.Close()
				defer other.Close()
				var calls sync.WaitGroup
				calls.Go(func() {
					_, err := own.Read(make([]byte, 1))
					assert.ErrorIs(t, err, way.read)
				})
				calls.Go(func() {
					n, err := own.Write([]byte("12345"))
					assert.Equal(t, 4, n)
					assert.ErrorIs(t, err, way.write)
				})
				calls.Go(func() {
					synctestYield()
					n, err := own.Write([]byte("6")) // waits for its turn first
					assert.Equal(t, 0, n)
					assert.ErrorIs(t, err, way.write)
				})
				synctest.Wait()
				way.end(own, other)
				calls.Wait()
			})
		})
	}
}

// synctestYield lets the other goroutines of the bubble come to rest.
func synctestYield() { time.Sleep(time.Nanosecond) }

func TestDeadlinesAreTimeoutsAndCanBeLifted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := ssetest.Pipe(0)
		defer a.Close()
		defer b.Close()
		start := time.Now()
		require.NoError(t, a.SetReadDeadline(start.Add(time.Minute)))
		_, err := a.Read(make([]byte, 1))
		assert.Equal(t, time.Minute, time.Since(start))
		var timeout net.Error
		require.ErrorAs(t, err, &timeout)
		assert.True(t, timeout.Timeout())

		b.Write([]byte("x"))
		_, err = a.Read(make([]byte, 1))
		assert.ErrorIs(t, err, os.ErrDeadlineExceeded, "still past, though there is a byte")

		require.NoError(t, a.SetReadDeadline(time.Time{}))
		n, err := a.Read(make([]byte, 1))
		assert.Equal(t, 1, n)
		assert.NoError(t, err)

		require.NoError(t, a.SetReadDeadline(time.Now().Add(time.Second)))
		require.NoError(t, a.SetReadDeadline(time.Time{}))
		time.AfterFunc(time.Hour, func() { b.Write([]byte("y")) })
		n, err = a.Read(make([]byte, 1))
		assert.Equal(t, 1, n)
		assert.NoError(t, err)
	})
}

func TestErrorsAreThoseOfPackageNet(t *testing.T) {
	a, b := ssetest.Pipe(0)
	b.Close()
	_, err := a.Write([]byte("x"))
	var op *net.OpError
	require.True(t, errors.As(err, &op))
	assert.Equal(t, "write mem pipe->pipe: write: broken pipe", op.Error())
	_, err = a.Read(make([]byte, 1))
	assert.Equal(t, io.EOF, err, "unwrapped, as callers compare it")
	n, err := b.Read(nil)
	assert.Equal(t, 0, n)
	assert.ErrorIs(t, err, net.ErrClosed)
}
