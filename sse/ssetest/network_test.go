package ssetest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/sse/ssetest"
)

func TestWhatListensAndWhatDialsMeet(t *testing.T) {
	n := ssetest.NewNetwork(nil)
	l, err := n.Listen("example.com:80")
	require.NoError(t, err)
	defer l.Close()
	near, err := n.Dial("tcp", "example.com:80")
	require.NoError(t, err)
	defer near.Close()
	far, err := l.Accept()
	require.NoError(t, err)
	defer far.Close()

	assert.Equal(t, "example.com:80", l.Addr().String())
	assert.Equal(t, "example.com:80", near.RemoteAddr().String())
	assert.Equal(t, "example.com:80", far.LocalAddr().String())
	assert.Equal(t, near.LocalAddr(), far.RemoteAddr())
	host, _, err := net.SplitHostPort(far.RemoteAddr().String())
	require.NoError(t, err)
	assert.Equal(t, "192.0.2.1", host)

	near.Write([]byte("hello"))
	p := make([]byte, 9)
	k, err := far.Read(p)
	require.NoError(t, err)
	assert.Equal(t, "hello", string(p[:k]))

	other, err := n.DialFrom("203.0.113.7")(t.Context(), "tcp", "example.com:80")
	require.NoError(t, err)
	defer other.Close()
	host, _, err = net.SplitHostPort(other.LocalAddr().String())
	require.NoError(t, err)
	assert.Equal(t, "203.0.113.7", host)
}

func TestAddressesAreGivenTakenAndFreed(t *testing.T) {
	n := ssetest.NewNetwork(nil)
	first, err := n.Listen("")
	require.NoError(t, err)
	second, err := n.Listen("example.com:0")
	require.NoError(t, err)
	assert.Equal(t, "sse.test:8080", first.Addr().String())
	assert.Equal(t, "example.com:8081", second.Addr().String())

	_, err = n.Listen("sse.test:8080")
	assert.ErrorIs(t, err, syscall.EADDRINUSE)
	require.NoError(t, first.Close())
	require.NoError(t, first.Close())
	_, err = n.Dial("tcp", "sse.test:8080")
	assert.ErrorIs(t, err, syscall.ECONNREFUSED)
	again, err := n.Listen("sse.test:8080")
	require.NoError(t, err)
	assert.NoError(t, again.Close())
	assert.NoError(t, second.Close())
}

func TestClosingTheListenerFreesAcceptAndResetsWhoWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := ssetest.NewNetwork(nil)
		l, err := n.Listen("")
		require.NoError(t, err)
		accepted := make(chan error, 1)
		go func() { // joined below
			c, err := l.Accept()
			assert.NoError(t, err)
			c.Close()
			_, err = l.Accept()
			accepted <- err
		}()
		_, err = n.Dial("tcp", l.Addr().String())
		require.NoError(t, err)
		synctest.Wait()
		l.Close()
		assert.ErrorIs(t, <-accepted, net.ErrClosed)

		l, err = n.Listen("")
		require.NoError(t, err)
		waiting, err := n.Dial("tcp", l.Addr().String())
		require.NoError(t, err)
		l.Close()
		_, err = waiting.Read(make([]byte, 1))
		assert.ErrorIs(t, err, syscall.ECONNRESET)
		_, err = l.Accept()
		assert.ErrorIs(t, err, net.ErrClosed)
	})
}

func TestDialingWaitsWhenTheBacklogIsFullAndHonoursItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := ssetest.NewNetwork(nil)
		l, err := n.Listen("")
		require.NoError(t, err)
		for range 128 {
			_, err := n.Dial("tcp", l.Addr().String())
			require.NoError(t, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		start := time.Now()
		_, err = n.DialContext(ctx, "tcp", l.Addr().String())
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, time.Minute, time.Since(start))
		_, err = n.DialContext(ctx, "tcp", l.Addr().String())
		assert.ErrorIs(t, err, context.DeadlineExceeded, "at once")

		time.AfterFunc(time.Minute, func() { l.Close() })
		_, err = n.Dial("tcp", l.Addr().String())
		assert.ErrorIs(t, err, syscall.ECONNREFUSED)
	})
}

func TestNoConnectionIsLostBetweenDialAndClose(t *testing.T) {
	n := ssetest.NewNetwork(nil)
	for i := range 200 {
		l, err := n.Listen(fmt.Sprintf("host:%d", i+1))
		require.NoError(t, err)
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				c, err := n.Dial("tcp", l.Addr().String())
				if err != nil {
					assert.ErrorIs(t, err, syscall.ECONNREFUSED)
					return
				}
				defer c.Close()
				_, err = c.Read(make([]byte, 1))
				assert.True(t, err == io.EOF || errors.Is(err, syscall.ECONNRESET), "%v", err)
			})
		}
		all.Go(func() {
			if c, err := l.Accept(); err == nil {
				c.Close()
			}
			l.Close()
		})
		all.Wait()
	}
}
