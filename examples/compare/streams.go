package main

import (
	"bytes"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// A stream is a text/event-stream that parsers and clients read.
type stream struct {
	name  string
	block []byte // whole events, to be repeated
	tally        // what a parser finds in block
}

// blockSize is about how long a block is: long enough that making a parser does
// not count.
const blockSize = 1 << 20

// streams are the inputs: a counter, an answer of a language model piece by
// piece, prices from a server that writes CRLF, and large documents.
func streams() []stream {
	return []stream{
		repeated("id and data of a few digits", "id: 48231\ndata: 48231\n\n", "48231"),
		repeated("LLM chunks", "data: "+chunk+"\n\n", chunk),
		repeated("named, CRLF, two data lines",
			"event: price\r\ndata: {\"symbol\":\"ACME\",\"bid\":101.25,\"ask\":101.5}\r\ndata: {\"at\":\"09:30:00.125\"}\r\n\r\n",
			`{"symbol":"ACME","bid":101.25,"ask":101.5}`+"\n"+`{"at":"09:30:00.125"}`),
		repeated("lines of 32 KiB", "data: "+document+"\n\n", document),
	}
}

// chunk is a piece of an answer as the usual LLM APIs send it, 240 bytes.
var chunk = padded(`{"id":"chatcmpl-9vK2mXqL7","object":"chat.completion.chunk","created":1726000000,"model":"large-2","system_fingerprint":"fp_5b2","choices":[{"index":0,"delta":{"content":" fan`, `"},"finish_reason":null}]}`, 240)

var document = padded(`{"document":"`, `"}`, 32<<10)

// padded returns begin, letters, and end, size bytes together.
func padded(begin, end string, size int) string {
	return begin + strings.Repeat("f", size-len(begin)-len(end)) + end
}

func repeated(name, event, data string) stream {
	n := max(1, blockSize/len(event))
	return stream{
		name:  name,
		block: bytes.Repeat([]byte(event), n),
		tally: tally{events: n, bytes: n * len(data)},
	}
}

// serveStream writes the block of the stream with the index in the query, as
// often as the query says, as fast as the client reads.
func serveStream(w http.ResponseWriter, r *http.Request) {
	all := streams()
	i, err := strconv.Atoi(r.FormValue("stream"))
	blocks, err2 := strconv.Atoi(r.FormValue("blocks"))
	if err != nil || err2 != nil || i < 0 || i >= len(all) {
		http.Error(w, "no such stream", http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	for range blocks {
		if _, err := w.Write(all[i].block); err != nil {
			return
		}
	}
}

// check says whether got is what so many blocks hold. Of a floor, which knows no
// data, only the events count.
func (s stream) check(c contestant, got tally, blocks int) error {
	want := tally{s.events * blocks, s.bytes * blocks}
	if c.floor {
		got.bytes = want.bytes
	}
	if got != want {
		return fmt.Errorf("%s: found %d events with %d bytes of data, not %d with %d",
			s.name, got.events, got.bytes, want.events, want.bytes)
	}
	return nil
}
