package client_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/fanfare-go/fanfare/client"
	"github.com/fanfare-go/fanfare/sse"
)

// BenchmarkEvents reads a stream from a server on loopback that writes prebuilt
// events as fast as the socket takes them: with a Client, and for comparison
// with a Decoder only, and without looking at the bytes.
func BenchmarkEvents(b *testing.B) {
	for _, s := range []struct {
		name, data string
		id         bool
	}{
		{name: "small", data: "12345", id: true},
		{name: "chunk", data: `{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1730000000,"model":"m","choices":[{"index":0,"delta":{"content":"` + strings.Repeat("x", 67) + `"},"finish_reason":null}]}`},
	} {
		const events = 1000
		var block []byte
		for n := range events {
			ev := sse.Event{Data: s.data}
			if s.id {
				ev.ID = strconv.Itoa(1_000_000 + n)
			}
			block, _ = ev.AppendTo(block)
		}
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", sse.MediaType)
			for {
				if _, err := w.Write(block); err != nil {
					return
				}
			}
		}))
		defer srv.Close()
		get := func(b *testing.B) io.Reader {
			b.ReportAllocs()
			resp, err := http.Get(srv.URL)
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { resp.Body.Close() })
			return resp.Body
		}
		check := func(b *testing.B, ev sse.Event, err error) {
			if err != nil || ev.Data != s.data {
				b.Fatalf("got %+v, %v", ev, err)
			}
		}

		b.Run(s.name+"/client", func(b *testing.B) {
			b.ReportAllocs()
			for ev, err := range client.New(srv.URL, nil).Events(b.Context()) {
				check(b, ev, err)
				if !b.Loop() {
					break
				}
			}
		})
		b.Run(s.name+"/decoder", func(b *testing.B) {
			for ev, err := range sse.Events(get(b)) {
				check(b, ev, err)
				if !b.Loop() {
					break
				}
			}
		})
		b.Run(s.name+"/bytes", func(b *testing.B) {
			body, buf := get(b), make([]byte, 64<<10)
			for have := 0; b.Loop(); have -= len(block) / events {
				for have < len(block)/events {
					n, err := body.Read(buf)
					if err != nil {
						b.Fatal(err)
					}
					have += n
				}
			}
		})
	}
}
