package broker_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/sse"
	"github.com/fanfare-go/fanfare/sse/ssetest"
)

// dial opens a connection to a server and sends a request, or a part of one.
func dial(t testing.TB, srv *ssetest.Server, request string) net.Conn {
	c, err := srv.Network.Dial("tcp", strings.TrimPrefix(srv.URL, "http://"))
	require.NoError(t, err)
	_, err = io.WriteString(c, request)
	require.NoError(t, err)
	return c
}

const plainRequest = "GET / HTTP/1.1\r\nHost: sse.test\r\n\r\n"

func TestAClientThatNeverReadsCostsNoMoreThanItsQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const clients, queue, event = 200, 64 << 10, 4 << 10
		b := newBroker(t, &broker.Options{
			QueueBytes:   queue,
			WriteTimeout: time.Hour,
			Store:        broker.NewMemoryStore(&broker.MemoryOptions{MaxBytes: 1 << 20}),
		})
		srv := ssetest.Serve(t, b, &ssetest.ServerOptions{Network: ssetest.NewNetwork(&ssetest.NetworkOptions{Buffer: 4 << 10})})
		before := collected()
		var conns []net.Conn
		for range clients {
			// Each is stuck at another place, and so holds other events.
			conns = append(conns, dial(t, srv, plainRequest))
			synctest.Wait()
			for range 20 {
				_, err := b.Publish(t.Context(), sse.Event{Data: strings.Repeat("x", event)})
				require.NoError(t, err)
			}
			synctest.Wait()
		}
		require.Equal(t, clients, b.Stats().Subscribers)

		// A queue and the batch in front of it, which is no larger here; each in
		// the form for HTTP, and as the events that it was made of. A buffer, and
		// a connection of net/http.
		each := (collected() - before - 1<<20) / clients
		t.Logf("%d KiB each", each>>10)
		assert.Less(t, each, 2*3*queue+32<<10+24<<10)
		for _, c := range conns {
			c.Close()
		}
		synctest.Wait()
		assert.Equal(t, 0, b.Stats().Subscribers)
		assert.Less(t, collected()-before, 2<<20)
	})
}

func TestAClientThatReadsAByteASecondHoldsNobodyUpAndIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, nil)
		srv := ssetest.Serve(t, b, nil)
		slow := dial(t, srv, plainRequest)
		var reading sync.WaitGroup
		defer reading.Wait()
		defer slow.Close()
		reading.Go(func() {
			for p := make([]byte, 1); ; time.Sleep(time.Second) {
				if _, err := slow.Read(p); err != nil {
					return
				}
			}
		})
		healthy, err := srv.Client().Get(srv.URL)
		require.NoError(t, err)
		defer healthy.Body.Close()
		d := sse.NewDecoder(healthy.Body)
		start := time.Now()
		for i := 0; b.Stats().Subscribers == 2; i++ {
			published := time.Now()
			_, err := b.Publish(t.Context(), sse.Event{Data: fmt.Sprint(i, strings.Repeat("x", 1<<10))})
			require.NoError(t, err)
			ev, err := d.Decode()
			require.NoError(t, err)
			require.True(t, strings.HasPrefix(ev.Data, fmt.Sprint(i, "x")))
			require.Less(t, time.Since(published), 5*time.Millisecond, "until the worker is relieved")
			time.Sleep(time.Second)
			// The buffer of the connection, the queue, and one timeout.
			require.Less(t, time.Since(start), 2*time.Minute)
		}
	})
}

func TestTenThousandConnectionsThatOpenAndCloseLeaveNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, nil)
		publish(t, b, 1, 100)
		var complaints bytes.Buffer
		srv := ssetest.Serve(t, b, &ssetest.ServerOptions{Config: &http.Server{ErrorLog: log.New(&complaints, "", 0)}})
		requests := []string{
			"",
			"GET / HTT",
			plainRequest,
			plainRequest + plainRequest,
			"GET /?lastEventId=x HTTP/1.1\r\nHost: sse.test\r\n\r\n", // a Gap and the history
			"HEAD / HTTP/1.1\r\nHost: sse.test\r\n\r\n",
		}
		open := func(n int) {
			for i := range n {
				c := dial(t, srv, requests[i%len(requests)])
				switch i / len(requests) % 3 {
				case 0:
					synctest.Wait() // the answer is there, and is never read
				case 1:
					c.(*ssetest.Conn).Reset()
				}
				c.Close()
			}
			synctest.Wait()
		}
		open(100) // whatever there is only once
		goroutines, heap := left()
		open(10_000)
		goroutinesThen, heapThen := left()
		assert.Equal(t, goroutines, goroutinesThen)
		assert.Less(t, heapThen-heap, 256<<10)
		assert.Equal(t, 0, b.Stats().Subscribers)
		assert.Equal(t, "", fmt.Sprintf("%.200s", complaints.String()))
	})
}

func TestStreamsThatAreResetInALoopLeaveNothingAndDisturbNoOther(t *testing.T) {
	for _, protocol := range []ssetest.Protocol{ssetest.HTTP2, ssetest.H2C} {
		t.Run(protocol.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := 1_000
				if *soak > 0 {
					n = 10_000
				}
				b := newBroker(t, &broker.Options{Heartbeat: -1}) // the healthy one is as idle at the end as it was before
				publish(t, b, 1, 100)
				srv := ssetest.Serve(t, b, &ssetest.ServerOptions{Protocol: protocol})
				healthy, err := srv.Client().Do(get(t, srv.URL)) // on the same connection
				require.NoError(t, err)
				defer healthy.Body.Close()
				reset := func(n int) {
					for i := range n {
						ctx, cancel := context.WithCancel(t.Context())
						r := ssetest.NewRequest(srv.URL, "x").WithContext(ctx)
						r.RequestURI = ""
						if i%2 == 0 {
							go cancel() // before the handler runs, while it does, or after it wrote
						}
						resp, err := srv.Client().Do(r)
						cancel()
						if err == nil {
							resp.Body.Close()
						}
						time.Sleep(time.Millisecond) // a thousand a second
					}
				}
				reset(100)
				goroutines, heap := left()
				reset(n)
				// net/http keeps a stream until its last write deadline, which is
				// ten seconds after its end.
				assert.Less(t, collected()-heap, min(n, 10_000)<<10)
				goroutinesThen, heapThen := left()
				assert.Equal(t, goroutines, goroutinesThen)
				assert.Less(t, heapThen-heap, 256<<10)
				assert.Equal(t, 1, b.Stats().Subscribers)
				publish(t, b, 101, 101)
				ev, err := sse.NewDecoder(healthy.Body).Decode()
				require.NoError(t, err)
				assert.Equal(t, "101", ev.Data)
			})
		})
	}
}

func TestRequestsWithHugeRepeatedOrBinaryPartsCostWhatTheyWeigh(t *testing.T) {
	mark := "hostile"
	for name, test := range map[string]struct {
		query, header string
		code          int
	}{
		"an ID of 512 KiB":              {"", "Last-Event-ID: " + strings.Repeat(mark, 512<<10/len(mark)), 200},
		"an ID of 512 KiB in the query": {"lastEventId=" + strings.Repeat(mark, 512<<10/len(mark)), "", 200},
		"an ID of 2 MiB":                {"", "Last-Event-ID: " + strings.Repeat(mark, 2<<20/len(mark)), 431},
		"a thousand IDs":                {"", strings.Repeat("Last-Event-ID: "+mark+"\r\n", 999) + "Last-Event-ID: x", 200},
		"a binary ID":                   {"", "Last-Event-ID: \xff\xfe" + mark + "\x80", 200},
		"an ID with a NUL":              {"", "Last-Event-ID: " + mark + "\x00", 400},
		"line ends in an ID":            {"lastEventId=x%0Adata:+" + mark + "%0D%0A%0Aevent:+" + mark + "%00", "", 200},
		"a query of 512 KiB":            {strings.Repeat(mark+"&", 512<<10/(len(mark)+1)), "", 200},
		"a query that is none":          {"%zz&=&&;;%" + mark + "\x80", "", 200},
		"ten thousand media types":      {"", "Accept: " + strings.Repeat("x/"+mark+";q=0.1,", 10_000) + "*/*", 200},
		"ten thousand Accepts":          {"", strings.Repeat("Accept: x/"+mark+"\r\n", 9_999) + "Accept: */*", 200},
		"too many topics":               {"t=" + strings.Join(numbers(1, 9_999), "&t="), "", 400},
		"a hundred thousand topics":     {"t=" + strings.Join(numbers(1, 100_000), "&t="), "", 400},
		"ten thousand times one topic":  {"t=x" + strings.Repeat("&t=x", 9_999), "", 200},
		"a header of 512 KiB":           {"", "X: " + strings.Repeat(mark, 512<<10/len(mark)), 200},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				opts := &broker.Options{}
				if strings.HasPrefix(test.query, "t=") {
					opts.Topics = broker.AnyQueryTopic("t")
				}
				b := newBroker(t, opts)
				publish(t, b, 1, 1)
				srv := ssetest.Serve(t, b, &ssetest.ServerOptions{Network: ssetest.NewNetwork(&ssetest.NetworkOptions{Buffer: -1})})
				request := fmt.Sprintf("GET /?%s HTTP/1.1\r\nHost: sse.test\r\n%s\r\n\r\n", test.query, test.header)
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				c := dial(t, srv, request)
				synctest.Wait()
				runtime.ReadMemStats(&after)
				// net/http and net/url take most of it, the latter for each parameter.
				cost, weight := after.TotalAlloc-before.TotalAlloc, uint64(len(request))
				t.Logf("%d KiB for %d KiB", cost>>10, weight>>10)
				assert.Less(t, cost, 12*weight+2<<20)

				c.(*ssetest.Conn).CloseWrite()
				resp, err := http.ReadResponse(bufio.NewReader(c), nil)
				require.NoError(t, err)
				assert.Equal(t, test.code, resp.StatusCode)
				body, _ := io.ReadAll(resp.Body)
				assert.NotContains(t, string(body), mark)
				c.Close()
				synctest.Wait()
				assert.Equal(t, 0, b.Stats().Subscribers)
			})
		})
	}
}

func TestALargeEventMayTakeLongerThanOneTimeout(t *testing.T) {
	for _, detach := range []bool{false, true} {
		t.Run(fmt.Sprint(detach), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const size = 1 << 20
				b := newBroker(t, &broker.Options{Detach: detach, WriteTimeout: 10 * time.Second})
				srv := ssetest.Serve(t, b, &ssetest.ServerOptions{Network: ssetest.NewNetwork(&ssetest.NetworkOptions{Buffer: 4 << 10})})
				resp, err := srv.Client().Get(srv.URL)
				require.NoError(t, err)
				defer resp.Body.Close()
				_, err = b.Publish(t.Context(), sse.Event{Data: strings.Repeat("x", size)})
				require.NoError(t, err)
				for got := 0; got < size; time.Sleep(5 * time.Second) {
					n, err := io.ReadFull(resp.Body, make([]byte, 56<<10))
					if got += n; got < size {
						require.NoError(t, err)
					}
				}
			})
		})
	}
}
