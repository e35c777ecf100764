package ssetest_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/sse/ssetest"
)

// only returns Faults of one kind, after exactly n bytes.
func only(t *testing.T, kind ssetest.Fault, n int) *ssetest.Faults {
	if n == 0 {
		n = -1 // 0 is the default
	}
	return ssetest.NewFaults(t, &ssetest.FaultOptions{
		Kinds: []ssetest.Fault{kind}, MinBytes: n, MaxBytes: n, MaxPause: time.Minute,
	})
}

// alphabet accepts connections and answers each line by the alphabet until the
// test ends. What it is sent arrives on got; the errors of its ends on ended.
func alphabet(t *testing.T, l net.Listener) (got chan string, ended chan error) {
	got, ended = make(chan string, 100), make(chan error, 100) // sent by the goroutines, never closed
	var all sync.WaitGroup
	all.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer c.Close()
				for r := bufio.NewReader(c); ; {
					line, err := r.ReadString('\n')
					if err != nil {
						ended <- err
						return
					}
					got <- line
					io.WriteString(c, "abcdefghijklmnopqrstuvwxyz")
				}
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		all.Wait()
	})
	return got, ended
}

// ways are the three places for Faults on the way to the server at l; each
// returns a connection to it.
var ways = map[string]func(t *testing.T, n *ssetest.Network, f *ssetest.Faults) (net.Listener, ssetest.DialFunc){
	"Dialer": func(t *testing.T, n *ssetest.Network, f *ssetest.Faults) (net.Listener, ssetest.DialFunc) {
		l, err := n.Listen("server:1")
		require.NoError(t, err)
		return l, f.Dialer(n.DialContext)
	},
	"Listener": func(t *testing.T, n *ssetest.Network, f *ssetest.Faults) (net.Listener, ssetest.DialFunc) {
		l, err := n.Listen("server:1")
		require.NoError(t, err)
		return f.Listener(l), n.DialContext
	},
	"Proxy": func(t *testing.T, n *ssetest.Network, f *ssetest.Faults) (net.Listener, ssetest.DialFunc) {
		l, err := n.Listen("server:1")
		require.NoError(t, err)
		p := f.Proxy("server:1", &ssetest.ProxyOptions{Network: n})
		return l, func(ctx context.Context, network, _ string) (net.Conn, error) {
			return n.DialContext(ctx, network, p.Addr)
		}
	},
}

// onEachWay runs f in a bubble for each way, with an open connection.
func onEachWay(t *testing.T, kind ssetest.Fault, n int, f func(t *testing.T, c net.Conn, faults *ssetest.Faults, got chan string, ended chan error)) {
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				faults := only(t, kind, n)
				l, dial := way(t, ssetest.NewNetwork(nil), faults)
				got, ended := alphabet(t, l)
				c, err := dial(t.Context(), "tcp", "server:1")
				require.NoError(t, err)
				defer c.Close()
				assert.Equal(t, "server:1", l.Addr().String())
				io.WriteString(c, "hello\n")
				f(t, c, faults, got, ended)
				synctest.Wait()
				if kind != ssetest.FaultNone {
					assert.Positive(t, faults.Count(kind))
				}
				assert.Equal(t, faults.Count(), faults.Count(kind))
				faults.Close()
				faults.Close()
			})
		})
	}
}

func TestWithoutFaultsAllIsForwardedBothWays(t *testing.T) {
	onEachWay(t, ssetest.FaultNone, 0, func(t *testing.T, c net.Conn, f *ssetest.Faults, got chan string, ended chan error) {
		assert.Equal(t, "hello\n", <-got)
		_, err := io.ReadFull(c, make([]byte, 26))
		require.NoError(t, err)
		io.WriteString(c, strings.Repeat("long", 10000)+"\n")
		assert.Len(t, <-got, 40001)
		c.Close()
		assert.Equal(t, io.EOF, <-ended)
		assert.Equal(t, 1, f.Connections())
	})
}

func TestACutComesAfterTheByteItIsDue(t *testing.T) {
	onEachWay(t, ssetest.FaultCut, 5, func(t *testing.T, c net.Conn, f *ssetest.Faults, got chan string, ended chan error) {
		b, err := io.ReadAll(c)
		require.NoError(t, err)
		assert.Equal(t, "abcde", string(b))
		assert.Error(t, <-ended)
	})
}

func TestAResetIsSeenByBothSides(t *testing.T) {
	onEachWay(t, ssetest.FaultReset, 5, func(t *testing.T, c net.Conn, f *ssetest.Faults, got chan string, ended chan error) {
		_, err := io.ReadAll(c)
		assert.ErrorIs(t, err, syscall.ECONNRESET)
		assert.ErrorIs(t, <-ended, syscall.ECONNRESET)
	})
}

func TestAHalfCloseIsNotNoticedByTheServerUntilTheClientCloses(t *testing.T) {
	onEachWay(t, ssetest.FaultHalfClose, 5, func(t *testing.T, c net.Conn, f *ssetest.Faults, got chan string, ended chan error) {
		b, err := io.ReadAll(c)
		require.NoError(t, err)
		assert.Equal(t, "abcde", string(b))
		assert.Equal(t, "hello\n", <-got)
		for range 5000 { // more than all buffers hold comes back, to nobody
			io.WriteString(c, "still there?\n")
			assert.Equal(t, "still there?\n", <-got)
		}
		assert.Empty(t, ended)
		c.Close()
		assert.Error(t, <-ended)
	})
}

func TestAStallPausesAndGoesOn(t *testing.T) {
	onEachWay(t, ssetest.FaultStall, 20, func(t *testing.T, c net.Conn, f *ssetest.Faults, got chan string, ended chan error) {
		start := time.Now()
		b := make([]byte, 20)
		_, err := io.ReadFull(c, b)
		require.NoError(t, err)
		assert.Zero(t, time.Since(start))
		_, err = io.ReadFull(c, b[:6])
		require.NoError(t, err)
		assert.Equal(t, "uvwxyz", string(b[:6]))
		assert.Positive(t, time.Since(start))
		assert.LessOrEqual(t, time.Since(start), time.Minute)
	})
}

func TestAClientThatGoesEndsAnEndlessStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := ssetest.NewFaults(t, &ssetest.FaultOptions{Kinds: []ssetest.Fault{ssetest.FaultStall}, MaxBytes: -1, MaxPause: -1})
		n := ssetest.NewNetwork(nil)
		l, err := n.Listen("")
		require.NoError(t, err)
		_, ended := alphabet(t, l)
		c, err := f.Dialer(n.DialContext)(t.Context(), "tcp", l.Addr().String())
		require.NoError(t, err)
		io.WriteString(c, "hello\n")
		c.SetReadDeadline(time.Now().Add(24 * time.Hour))
		_, err = c.Read(make([]byte, 1))
		assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
		c.Close()
		assert.Equal(t, io.EOF, <-ended)
	})
}

func TestATrickleGivesAFewBytesAtATime(t *testing.T) {
	onEachWay(t, ssetest.FaultTrickle, 0, func(t *testing.T, c net.Conn, f *ssetest.Faults, got chan string, ended chan error) {
		var all []byte
		start := time.Now()
		for len(all) < 26 {
			b := make([]byte, 26)
			n, err := c.Read(b)
			require.NoError(t, err)
			assert.LessOrEqual(t, n, 8+1, "a piece, and the byte between two trickles")
			all = append(all, b[:n]...)
		}
		assert.Equal(t, "abcdefghijklmnopqrstuvwxyz", string(all))
		assert.Positive(t, time.Since(start))
	})
}

func TestADuplicateSendsTheServerAllTwiceAndTheClientOnce(t *testing.T) {
	onEachWay(t, ssetest.FaultDuplicate, 0, func(t *testing.T, c net.Conn, f *ssetest.Faults, got chan string, ended chan error) {
		assert.Equal(t, []string{"hello\n", "hello\n"}, []string{<-got, <-got})
		_, err := io.ReadFull(c, make([]byte, 26))
		require.NoError(t, err)
		synctest.Wait()
		assert.Empty(t, ended, "both are open")
		c.SetReadDeadline(time.Now().Add(time.Hour))
		_, err = c.Read(make([]byte, 1))
		assert.ErrorIs(t, err, os.ErrDeadlineExceeded)
		c.Close()
		assert.Error(t, <-ended)
		assert.Error(t, <-ended)
		assert.Equal(t, 1, f.Connections())
	})
}

func TestGarbageIsNoResponse(t *testing.T) {
	onEachWay(t, ssetest.FaultGarbage, 0, func(t *testing.T, c net.Conn, f *ssetest.Faults, got chan string, ended chan error) {
		b, err := io.ReadAll(c)
		require.NoError(t, err)
		_, err = http.ReadResponse(bufio.NewReader(strings.NewReader(string(b))), nil)
		assert.Error(t, err)
		assert.Equal(t, "hello\n", <-got, "the server got the request")
	})
}

func TestCutAllCutsWhatIsOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := ssetest.NewFaults(t, &ssetest.FaultOptions{Kinds: []ssetest.Fault{}})
		n := ssetest.NewNetwork(nil)
		l, err := n.Listen("")
		require.NoError(t, err)
		_, ended := alphabet(t, l)
		for range 2 {
			var conns []net.Conn
			for range 3 {
				c, err := f.Dialer(n.DialContext)(t.Context(), "tcp", l.Addr().String())
				require.NoError(t, err)
				conns = append(conns, c)
			}
			synctest.Wait()
			assert.Equal(t, 3, f.CutAll())
			for _, c := range conns {
				_, err := io.ReadAll(c)
				assert.NoError(t, err)
				c.Close()
				<-ended
			}
			synctest.Wait()
			assert.Equal(t, 0, f.CutAll())
		}
		assert.Equal(t, 6, f.Count(ssetest.FaultCut, ssetest.FaultStall))
		assert.Equal(t, fmt.Sprintf("faults of seed %d: 6 connections, 6 cut", f.Seed()), f.String())
	})
}

func TestCutAllEndsAHalfCloseForTheServerToo(t *testing.T) {
	onEachWay(t, ssetest.FaultHalfClose, 5, func(t *testing.T, c net.Conn, f *ssetest.Faults, got chan string, ended chan error) {
		_, err := io.ReadAll(c)
		require.NoError(t, err)
		assert.Equal(t, "hello\n", <-got)
		synctest.Wait()
		assert.Empty(t, ended)
		assert.Equal(t, 0, f.CutAll())
		assert.Error(t, <-ended)
		assert.Equal(t, 1, f.Count())
	})
}

func TestClosedFaultsLetNothingThrough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := ssetest.NewNetwork(nil)
		f := only(t, ssetest.FaultNone, 0)
		l, err := n.Listen("")
		require.NoError(t, err)
		_, ended := alphabet(t, l)
		p := f.Proxy(l.Addr().String(), &ssetest.ProxyOptions{Network: n, Addr: "proxy:1"})
		assert.Equal(t, "proxy:1", p.Addr)
		through, err := n.Dial("tcp", p.Addr)
		require.NoError(t, err)
		synctest.Wait()
		f.Close()
		<-ended
		_, err = io.ReadAll(through)
		assert.NoError(t, err)
		p.Close()

		_, err = n.Dial("tcp", p.Addr)
		assert.ErrorIs(t, err, syscall.ECONNREFUSED)
		c, err := f.Dialer(n.DialContext)(t.Context(), "tcp", l.Addr().String())
		require.NoError(t, err)
		_, err = c.Read(make([]byte, 1))
		assert.ErrorIs(t, err, syscall.ECONNRESET)
		back, err := n.Listen("")
		require.NoError(t, err)
		_, err = f.Listener(back).Accept()
		assert.ErrorIs(t, err, net.ErrClosed)
		_, err = f.Dialer(n.DialContext)(t.Context(), "tcp", "nobody:1")
		assert.ErrorIs(t, err, syscall.ECONNREFUSED)
		<-ended
	})
}

func TestAProxyOutlivesItsTargetAndOpensNoConnectionOnceClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := ssetest.NewNetwork(nil)
		f := only(t, ssetest.FaultNone, 0)
		p := f.Proxy("server:1", &ssetest.ProxyOptions{Network: n})
		c, err := n.Dial("tcp", p.Addr)
		require.NoError(t, err)
		_, err = c.Read(make([]byte, 1))
		assert.ErrorIs(t, err, syscall.ECONNRESET, "no target yet")
		c.Close()

		l, err := n.Listen("server:1")
		require.NoError(t, err)
		got, _ := alphabet(t, l)
		c, err = n.Dial("tcp", p.Addr)
		require.NoError(t, err)
		synctest.Wait()
		p.Close()
		p.Close()
		_, err = n.Dial("tcp", p.Addr)
		assert.ErrorIs(t, err, syscall.ECONNREFUSED)
		io.WriteString(c, "lives on\n")
		assert.Equal(t, "lives on\n", <-got)
		c.Close()
		assert.Panics(t, func() { f.Proxy("", &ssetest.ProxyOptions{Network: n, Addr: "server:1"}) })
	})
}
