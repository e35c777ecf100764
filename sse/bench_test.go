package sse_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/fanfare-go/fanfare/sse"
)

// chunk is the data of one event as language models stream it: 240 bytes.
var chunk = `{"id":"chatcmpl-9x","object":"chat.completion.chunk","created":1730000000,"model":"m-4o","choices":[{"index":0,"delta":{"content":" word"},"logprobs":null,"finish_reason":null}],"pad":"` + strings.Repeat("x", 50) + `"}`

func BenchmarkEncode(b *testing.B) {
	events := map[string]sse.Event{
		"chunk":     {Data: chunk},
		"number":    {ID: "12345", Data: "12345"},
		"multiline": {Type: "update", Data: strings.Repeat("a line of text\n", 16)},
	}
	for name, ev := range events {
		b.Run(name, func(b *testing.B) {
			buf, err := ev.AppendTo(nil)
			if err != nil {
				b.Fatal(err)
			}
			b.SetBytes(int64(len(buf)))
			b.ReportAllocs()
			for b.Loop() {
				buf, _ = ev.AppendTo(buf[:0])
			}
		})
	}
	b.Run("copy", func(b *testing.B) {
		buf := make([]byte, 0, 256)
		for b.Loop() {
			buf = append(buf[:0], chunk...)
		}
		b.SetBytes(int64(len(buf)))
	})
}

func BenchmarkDecode(b *testing.B) {
	streams := map[string]func(i int) string{
		"number": func(i int) string { return fmt.Sprintf("id: %d\ndata: %d\n\n", i, i) },
		"chunk":  func(i int) string { return "data: " + chunk + "\n\n" },
		"crlf": func(i int) string {
			return fmt.Sprintf("event: update\r\ndata: first line of %d\r\ndata: and the second one\r\n\r\n", i)
		},
		"long": func(i int) string { return "data: " + strings.Repeat("0123456789abcdef", 2048) + "\n\n" },
	}
	for _, name := range []string{"number", "chunk", "crlf", "long"} {
		b.Run(name, func(b *testing.B) {
			var stream bytes.Buffer
			events := 0
			for stream.Len() < 4<<20 {
				stream.WriteString(streams[name](1_000_000 + events))
				events++
			}
			b.SetBytes(int64(stream.Len()))
			b.ReportAllocs()
			d := sse.NewDecoder(nil)
			for b.Loop() {
				d.Reset(bytes.NewReader(stream.Bytes()), "")
				n := 0
				for _, err := range d.Events() {
					if err != nil {
						b.Fatal(err)
					}
					n++
				}
				if n != events {
					b.Fatalf("got %d events, want %d", n, events)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*events), "ns/event")
		})
	}
}
