package broker_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/sse"
	"github.com/fanfare-go/fanfare/sse/ssetest"
)

// accepting returns a request whose Accept-Encoding has these values.
func accepting(lastEventID string, encodings ...string) *http.Request {
	r := ssetest.NewRequest("/", lastEventID)
	r.Header["Accept-Encoding"] = encodings
	return r
}

// decompressed returns the text of what has arrived of a gzip stream, and the
// error at its end.
func decompressed(t *testing.T, body string) (string, error) {
	t.Helper()
	r, err := gzip.NewReader(strings.NewReader(body))
	require.NoError(t, err)
	text, err := io.ReadAll(r)
	return string(text), err
}

func TestGzipIsSentToThoseWhoAcceptIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &broker.Options{Compress: true})
		off := newBroker(t, nil)
		for _, test := range []struct {
			accept []string
			want   string
		}{
			{nil, ""},
			{[]string{""}, ""},
			{[]string{"gzip"}, "gzip"},
			{[]string{"X-GZip"}, "gzip"},
			{[]string{"br, deflate"}, ""},
			{[]string{"gzip, deflate, br, zstd"}, "gzip"},
			{[]string{"deflate", "br;q=1.0 ,  GZIP ; q=0.001"}, "gzip"},
			{[]string{"gzip;q=0"}, ""},
			{[]string{"gzip;q=0.000, *"}, ""},
			{[]string{"gzip;q=x"}, ""},
			{[]string{"*"}, "gzip"},
			{[]string{"*;q=0"}, ""},
			{[]string{"*;q=0, gzip"}, "gzip"},
			{[]string{"identity"}, ""},
			{[]string{"identity, gzip"}, "gzip"},
			{[]string{"identity;q=0.5, gzip;q=0.8"}, "gzip"},
			{[]string{"identity;q=0.8, gzip;q=0.5"}, ""},
			{[]string{"identity, *;q=0.5"}, ""},
			{[]string{"gzipped"}, ""},
		} {
			for _, method := range []string{"GET", "HEAD"} {
				r := accepting("", test.accept...)
				r.Method = method
				s := ssetest.Record(t, b, r)
				assert.Equal(t, test.want, s.Header().Get("Content-Encoding"), "%s %q", method, test.accept)
				assert.Equal(t, []string{"Accept-Encoding"}, s.Header().Values("Vary"))
				assert.Equal(t, "no-cache, no-transform", s.Header().Get("Cache-Control"))
				s.Close()
				s = ssetest.Record(t, off, r)
				assert.Equal(t, "", s.Header().Get("Content-Encoding")+s.Header().Get("Vary"))
				s.Close()
			}
		}
	})
}

func TestWhatIsRefusedOrEncodedByMiddlewareIsNotCompressed(t *testing.T) {
	b := newBroker(t, &broker.Options{Compress: true})
	r := accepting("", "gzip")
	for name, method := range map[string]string{"stream": "GET", "head": "HEAD", "refusal": "POST"} {
		r.Method = method
		w := httptest.NewRecorder()
		b.ServeHTTP(struct{ http.ResponseWriter }{w}, r) // which cannot flush
		assert.GreaterOrEqual(t, w.Code, 400, name)
		assert.Equal(t, "", w.Header().Get("Content-Encoding"), name)
		assert.Equal(t, "Accept-Encoding", w.Header().Get("Vary"), name)
	}
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &broker.Options{Compress: true, Store: namedStore(nil)})
		r := accepting("", "gzip")
		s := &stream{Recorder: ssetest.Record(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Encoding", "br")
			w.Header().Set("Vary", "Origin")
			b.ServeHTTP(w, r)
		}), r)}
		assert.Equal(t, []string{"br"}, s.Header().Values("Content-Encoding"))
		assert.Equal(t, []string{"Origin", "Accept-Encoding"}, s.Header().Values("Vary"))
		publish(t, b, 1, 1)
		assert.Regexp(t, `^id: \d+-0\n\nid: 1\ndata: 1\n\n$`, s.news())
	})
}

// Both kinds of subscribers live through the same: events alone and in bursts, of
// all sizes, on topics of theirs and not, silence, cursors that are good and
// lost, and the end.
func TestACompressedStreamSaysWhatAPlainOneSays(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rnd := rand.New(rand.NewPCG(seed, 7))
				b := newBroker(t, &broker.Options{
					Compress:  true,
					Store:     namedStore(&broker.MemoryOptions{MaxEvents: 50}),
					Backlog:   int(seed%3) * 5,
					Retry:     time.Duration(seed%2) * time.Second,
					Heartbeat: time.Second,
				})
				event := func() sse.Event {
					data := make([]byte, rnd.IntN(1<<rnd.IntN(17)))
					letters := 1 + rnd.IntN(60)
					for i := range data {
						data[i] = byte('A' + rnd.IntN(letters))
					}
					return sse.Event{Data: string(data)}
				}
				topics := []string{"", "other"}
				newest := 0
				var plain, zipped *stream
				for step := range 60 {
					switch n := rnd.IntN(10); {
					case plain == nil || n == 0:
						if plain != nil {
							plain.Close()
							zipped.Close()
						}
						cursor := []string{"", "lost", fmt.Sprint(max(newest-rnd.IntN(60), 0))}[rnd.IntN(3)]
						plain = &stream{Recorder: ssetest.Record(t, b, accepting(cursor, "br"))}
						zipped = &stream{Recorder: ssetest.Record(t, b, accepting(cursor, "gzip"))}
					case n < 6:
						for range 1 + rnd.IntN(1<<rnd.IntN(6)) {
							_, err := b.Publish(t.Context(), event(), topics[rnd.IntN(4)/3])
							require.NoError(t, err)
							newest++
						}
					default:
						time.Sleep(time.Duration(rnd.IntN(3000)) * time.Millisecond)
					}
					synctest.Wait()
					got, err := decompressed(t, zipped.Body())
					require.Equal(t, io.ErrUnexpectedEOF, err)
					require.True(t, plain.Body() == got, "step %d", step)
				}
				require.NoError(t, b.Shutdown(t.Context()))
				require.NoError(t, plain.Wait())
				require.NoError(t, zipped.Wait())
				got, err := decompressed(t, zipped.Body())
				require.NoError(t, err)
				farewell := regexp.MustCompile(`retry: \d+\n\n$`) // which differs
				require.Regexp(t, farewell, got)
				require.True(t, farewell.ReplaceAllString(plain.Body(), "") == farewell.ReplaceAllString(got, ""))
			})
		})
	}
}

func TestADetachedStreamThatIsCompressedIsReadAndEndsLikeAnyOther(t *testing.T) {
	b := newBroker(t, &broker.Options{
		Store: namedStore(nil), Detach: true, Compress: true, Heartbeat: 20 * time.Millisecond, Retry: time.Second,
	})
	srv := httptest.NewServer(b)
	defer srv.Close()
	publish(t, b, 1, 2)
	r := get(t, srv.URL)
	r.Header.Set("Accept-Encoding", "gzip")
	r.Header.Set("Last-Event-ID", "1")
	resp, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.True(t, resp.Close, "it is detached")
	require.Equal(t, "gzip", resp.Header.Get("Content-Encoding"))
	var wire bytes.Buffer
	text, err := gzip.NewReader(io.TeeReader(resp.Body, &wire))
	require.NoError(t, err)

	first := "retry: 1000\n\n" + block("2", "2")
	require.Equal(t, first, body(t, text, first))
	beats := strings.Repeat(":\n\n", 3)
	require.Equal(t, beats, body(t, text, beats))
	publish(t, b, 3, 3, "other")
	publish(t, b, 4, 4, "other")
	d := sse.NewDecoder(text)
	for i, size := range []int{1, 1000, 100 << 10, 40 << 10, 10} {
		data := strings.Repeat(fmt.Sprint(i), size)
		id, err := b.Publish(t.Context(), sse.Event{Data: data})
		require.NoError(t, err)
		ev, err := d.Decode()
		require.NoError(t, err)
		require.True(t, ev == sse.Event{ID: id, Data: data})
	}
	require.NoError(t, b.Shutdown(t.Context()))
	_, err = d.Decode()
	assert.Equal(t, io.EOF, err, "the checksum is right")
	assert.Less(t, wire.Len(), 5<<10)
}

func TestACompressedStreamCostsNoMoreMemoryThanAPlainOne(t *testing.T) {
	const subscribers, allowed = 500, 2 << 10 // bytes each
	for _, detach := range []bool{false, true} {
		cost := map[bool]int{}
		for _, compress := range []bool{false, true} {
			b := newBroker(t, &broker.Options{Compress: compress, Detach: detach})
			srv := httptest.NewServer(b)
			before := heapInUse()
			var conns []net.Conn
			for range subscribers {
				conn, err := net.Dial("tcp", srv.Listener.Addr().String())
				require.NoError(t, err)
				_, err = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: h\r\nAccept-Encoding: gzip\r\n\r\n")
				require.NoError(t, err)
				conns = append(conns, conn)
			}
			await := func(n uint64) {
				require.Eventually(t, func() bool { return b.Stats().Delivered == n }, 20*time.Second, time.Millisecond)
			}
			require.Eventually(t, func() bool { return b.Stats().Subscribers == subscribers }, 20*time.Second, time.Millisecond)
			for i := range 5 {
				_, err := b.Publish(t.Context(), sse.Event{Data: strings.Repeat(`{"price":101.25},`, 200)})
				require.NoError(t, err)
				await(uint64(i+1) * subscribers)
			}
			heap, stacks := inUse()
			cost[compress] = (heap - before + stacks) / subscribers
			for _, conn := range conns {
				conn.Close()
			}
			require.NoError(t, b.Close())
			srv.Close()
		}
		t.Logf("detach=%t: %d bytes, and %d compressed", detach, cost[false], cost[true])
		assert.Less(t, cost[true]-cost[false], allowed)
	}
}

// inUse returns the bytes that are in use once goroutines that wait for more to do
// have ended, as they do within a second. New goroutines use the stacks of old ones.
func inUse() (heap, stacks int) {
	heap, stacks = math.MaxInt, math.MaxInt
	for began := time.Now(); time.Since(began) < 1200*time.Millisecond; {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		heap, stacks = min(heap, int(m.HeapAlloc)), min(stacks, int(m.StackInuse))
	}
	return heap, stacks
}

func TestEventsThatCameMeanwhileAreSplicedBehindASnapshot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b *broker.Broker
		b = newBroker(t, &broker.Options{
			Compress: true,
			Store:    namedStore(nil),
			Snapshot: func(*http.Request, []string) ([]sse.Event, error) {
				publish(t, b, 2, 4) // the queue is open
				time.Sleep(time.Millisecond)
				return []sse.Event{{Data: strings.Repeat("state ", 50)}, {Data: strings.Repeat("x", 40<<10)}, {Data: "y"}}, nil
			},
		})
		publish(t, b, 1, 1)
		s := &stream{Recorder: ssetest.Record(t, b, accepting("", "gzip"))}
		time.Sleep(time.Second)
		s.news()
		require.NoError(t, b.Shutdown(t.Context()))
		text, err := decompressed(t, s.Body())
		require.NoError(t, err)
		want := block("", strings.Repeat("state ", 50)) + block("", strings.Repeat("x", 40<<10)) + block("", "y") + "id: 1\n\n" +
			block("2", "2") + block("3", "3") + block("4", "4")
		assert.Regexp(t, "^"+want+`retry: \d+\n\n$`, text)
	})
}
