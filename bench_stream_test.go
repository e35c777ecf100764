package fanfare_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/fanfare-go/fanfare/client"
	"github.com/fanfare-go/fanfare/sse"
)

// What streams are made of: a number, what language models send for each word
// (240 bytes), and events of several lines.
var (
	number    = sse.Event{ID: "48231", Data: "48231"}
	chunk     = sse.Event{Data: padded(`{"id":"chatcmpl-9vK2mXqL7","object":"chat.completion.chunk","created":1726000000,"model":"large-2","choices":[{"index":0,"delta":{"content":" `, `"},"finish_reason":null}]}`, 240)}
	price     = sse.Event{Type: "price", Data: `{"symbol":"ACME","bid":101.25,"ask":101.5}` + "\n" + `{"at":"09:30:00.125"}`}
	document  = sse.Event{Data: padded(`{"text":"`, `"}`, 32<<10)}
	multiline = sse.Event{Type: "log", Data: strings.Repeat("one of sixteen lines of text\n", 15) + "the last one"}
)

// padded returns begin, letters and end, size bytes together.
func padded(begin, end string, size int) string {
	return begin + strings.Repeat("f", size-len(begin)-len(end)) + end
}

// BenchmarkDecode parses streams that are in memory, of 1 MiB.
func BenchmarkDecode(b *testing.B) {
	for _, bm := range []struct {
		name  string
		event sse.Event
		crlf  bool
	}{
		{"number", number, false},
		{"LLM", chunk, false},
		{"CRLF", price, true},
		{"32KiB", document, false},
	} {
		b.Run("input="+bm.name, func(b *testing.B) {
			block := encoded(b, bm.event)
			if bm.crlf {
				block = bytes.ReplaceAll(block, []byte("\n"), []byte("\r\n"))
			}
			events := 1<<20/len(block) + 1
			stream := bytes.Repeat(block, events)
			b.SetBytes(int64(len(stream)))
			b.ReportAllocs()
			r, d := bytes.NewReader(nil), sse.NewDecoder(nil)
			for b.Loop() {
				r.Reset(stream)
				d.Reset(r, "")
				n := 0
				var last sse.Event
				for ev, err := range d.Events() {
					if err != nil || len(ev.Data) != len(bm.event.Data) {
						b.Fatalf("got %+v, %v", ev, err)
					}
					last = ev
					n++
				}
				if n != events || last != bm.event {
					b.Fatalf("got %d events, the last one %+v, and want %d of %+v", n, last, events, bm.event)
				}
			}
			reportEvents(b, events)
		})
	}
}

// BenchmarkEncode encodes an event into a buffer that is used again.
func BenchmarkEncode(b *testing.B) {
	for _, bm := range []struct {
		name  string
		event sse.Event
	}{
		{"number", number},
		{"LLM", chunk},
		{"multiline", multiline},
	} {
		b.Run("event="+bm.name, func(b *testing.B) {
			want := encoded(b, bm.event)
			buf := make([]byte, 0, len(want)+64) // AppendTo may ask for a little more than it needs
			b.SetBytes(int64(len(want)))
			b.ReportAllocs()
			for b.Loop() {
				buf, _ = bm.event.AppendTo(buf[:0])
			}
			reportEvents(b, 1)
			if !bytes.Equal(buf, want) {
				b.Fatalf("got %q, want %q", buf, want)
			}
		})
	}
}

// BenchmarkClient reads a stream from a server on loopback that writes as fast
// as the connection takes it, through a Client.
func BenchmarkClient(b *testing.B) {
	for _, bm := range []struct {
		name  string
		event sse.Event
	}{
		{"number", number},
		{"LLM", chunk},
	} {
		b.Run("event="+bm.name, func(b *testing.B) {
			const batch = 1_000 // events of an iteration
			block := encoded(b, bm.event)
			srv := httptest.NewServer(endless(bytes.Repeat(block, batch)))
			b.Cleanup(srv.Close)
			b.SetBytes(int64(batch * len(block)))
			b.ReportAllocs()
			n := 0
			for ev, err := range client.New(srv.URL, nil).Events(b.Context()) {
				if err != nil || len(ev.Data) != len(bm.event.Data) {
					b.Fatalf("got %+v, %v", ev, err)
				}
				if n++; n%batch == 1 && !b.Loop() {
					break
				}
			}
			reportEvents(b, batch)
		})
	}
}

// endless returns a handler that writes the block until the client has gone.
func endless(block []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", sse.MediaType)
		for {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	})
}

// encoded returns the encoding of ev.
func encoded(b *testing.B, ev sse.Event) []byte {
	block, err := ev.AppendTo(nil)
	if err != nil {
		b.Fatal(err)
	}
	return block
}
