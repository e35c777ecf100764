package sse_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/sse"
)

// chunk is the data of one event as language models stream it: 240 bytes.
const chunk = `{"id":"chatcmpl-AbCdEfGhIjKlMnOpQrStUvWxYz012345","object":"chat.completion.chunk","created":1730000000,"model":"m-4o-2024-08-06","system_fingerprint":"fp_0ba0d124f1","choices":[{"index":0,"delta":{"content":" hello"},"finish_reason":null}]}`

func BenchmarkEncode(b *testing.B) {
	for _, bench := range []struct {
		name string
		ev   sse.Event
	}{
		{"numbers", sse.Event{ID: "1234567", Data: "1234567"}},
		{"chunk", sse.Event{Data: chunk}},
		{"lines", sse.Event{Type: "update", Data: strings.Repeat("a line of text\n", 16)}},
	} {
		b.Run(bench.name, func(b *testing.B) {
			buf, err := bench.ev.AppendTo(nil)
			require.NoError(b, err)
			size := len(buf)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				buf, _ = bench.ev.AppendTo(buf[:0])
			}
			require.Len(b, buf, size)
		})
	}
	b.Run("floor: copying the chunk", func(b *testing.B) {
		buf := make([]byte, 0, len(chunk))
		b.SetBytes(int64(len(chunk)))
		for b.Loop() {
			buf = append(buf[:0], chunk...)
		}
	})
}

func BenchmarkDecode(b *testing.B) {
	const size = 4 << 20
	for _, bench := range []struct{ name, format string }{
		{"numbers", "id: {i}\ndata: {i}\n\n"},
		{"chunk", "data: " + chunk + "\n\n"},
		{"named, CRLF, two lines", "event: update\r\ndata: first line of {i}\r\ndata: and the second one\r\n\r\n"},
		{"32 KiB lines", "data: " + strings.Repeat("0123456789abcdef", 2048) + "\n\n"},
	} {
		b.Run(bench.name, func(b *testing.B) {
			events := size / len(bench.format)
			stream := numbered(bench.format, events)
			b.SetBytes(int64(len(stream)))
			b.ReportAllocs()
			r := bytes.NewReader(nil)
			d := sse.NewDecoder(nil)
			for b.Loop() {
				r.Reset(stream)
				d.Reset(r, "")
				n := 0
				for _, err := range d.Events() {
					if err != nil {
						b.Fatal(err)
					}
					n++
				}
				require.Equal(b, events, n)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*events), "ns/event")
		})
	}
	b.Run("floor: copying the lines of numbers", func(b *testing.B) {
		stream := numbered("id: {i}\ndata: {i}\n\n", size/26)
		lines := make([]byte, len(stream))
		b.SetBytes(int64(len(stream)))
		for b.Loop() {
			n := 0
			for rest := stream; len(rest) > 0; {
				line, after, _ := bytes.Cut(rest, []byte{'\n'})
				n += copy(lines[n:], line)
				rest = after
			}
		}
	})
}
