package sse_test

import (
	"io"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/fanfare-go/fanfare/sse"
)

// An outcome is all that a decoder makes of a stream.
type outcome struct {
	Events      []sse.Event
	Comments    []string
	LastEventID string
	Retry       time.Duration
	HasRetry    bool
	Err         error
}

// clean returns o without what the conformance cases do not write down.
func (o outcome) clean() outcome {
	o.Comments, o.Err = nil, nil
	for i := range o.Events {
		o.Events[i].Retry = 0
		if o.Events[i].Type == "message" {
			o.Events[i].Type = ""
		}
	}
	return o
}

// decode returns what d makes of its stream.
func decode(d *sse.Decoder) (o outcome) {
	d.OnComment(func(text string) { o.Comments = append(o.Comments, text) })
	for o.Err == nil {
		var ev sse.Event
		if ev, o.Err = d.Decode(); o.Err == nil {
			o.Events = append(o.Events, ev)
		}
	}
	o.LastEventID = d.LastEventID()
	o.Retry, o.HasRetry = d.LastRetry()
	return o
}

// newDecoder returns a Decoder of a stream that arrives in chunks.
func newDecoder(chunks []string, lastEventID string) *sse.Decoder {
	d := sse.NewDecoder(nil)
	d.Reset(&chunkReader{chunks: slices.Clone(chunks)}, lastEventID)
	return d
}

// pieces cuts stream into chunks of size bytes.
func pieces(stream string, size int) (chunks []string) {
	for ; len(stream) > size; stream = stream[size:] {
		chunks = append(chunks, stream[:size])
	}
	return append(chunks, stream)
}

// A chunkReader reads one chunk at a time, and then err or io.EOF.
type chunkReader struct {
	chunks []string
	err    error
}

func (r *chunkReader) Read(p []byte) (int, error) {
	for len(r.chunks) > 0 && r.chunks[0] == "" {
		r.chunks = r.chunks[1:]
	}
	if len(r.chunks) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		return 0, io.EOF
	}
	n := copy(p, r.chunks[0])
	r.chunks[0] = r.chunks[0][n:]
	return n, nil
}

// transcribe is the algorithm of WHATWG HTML 9.2.6 as it stands there, over the
// whole stream and one character at a time: slow, obvious, and sharing nothing
// with the Decoder. Where the standard is silent it does what the Decoder
// documents: comments, the error at the end, the clamped reconnection time.
func transcribe(stream, lastEventID string) (o outcome) {
	// "Streams must be decoded using the UTF-8 decode algorithm."
	text := []rune(utf8Decode([]byte(stream)))

	// stream = [ bom ] *event; event = *( comment / field ) end-of-line
	var lines []string
	line := []rune{}
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '\r' && i+1 < len(text) && text[i+1] == '\n':
			i++
			fallthrough
		case text[i] == '\r', text[i] == '\n':
			lines = append(lines, string(line))
			line = line[:0]
		default:
			line = append(line, text[i])
		}
	}

	o.LastEventID = lastEventID
	dataBuffer, eventTypeBuffer, lastEventIDBuffer := "", "", lastEventID
	retry := time.Duration(0)
	open := false
	for _, line := range lines {
		name, value := "", ""
		switch colon := strings.Index(line, ":"); {
		case line == "":
			// "Set the last event ID string of the event source to the value
			// of the last event ID buffer."
			o.LastEventID = lastEventIDBuffer
			// "If the data buffer is an empty string, set the data buffer and
			// the event type buffer to the empty string and return."
			if dataBuffer != "" {
				// "If the data buffer's last character is a U+000A LINE FEED
				// (LF) character, then remove the last character from the data
				// buffer."
				o.Events = append(o.Events, sse.Event{
					ID:    o.LastEventID,
					Type:  eventTypeBuffer,
					Data:  strings.TrimSuffix(dataBuffer, "\n"),
					Retry: retry,
				})
			}
			dataBuffer, eventTypeBuffer, retry, open = "", "", 0, false
			continue
		case colon == 0:
			o.Comments = append(o.Comments, strings.TrimPrefix(line[1:], " "))
			continue
		case colon > 0:
			name, value = line[:colon], strings.TrimPrefix(line[colon+1:], " ")
		default:
			name = line
		}
		open = true
		switch name {
		case "event":
			eventTypeBuffer = value
		case "data":
			dataBuffer += value + "\n"
		case "id":
			if !strings.Contains(value, "\x00") {
				lastEventIDBuffer = value
			}
		case "retry":
			if value != "" && strings.Trim(value, "0123456789") == "" {
				ms, _ := new(big.Int).SetString(value, 10)
				retry = 1<<63 - 1
				retry = retry.Truncate(time.Millisecond)
				if ms.Cmp(big.NewInt(retry.Milliseconds())) < 0 {
					retry = time.Duration(ms.Int64()) * time.Millisecond
				}
				o.Retry, o.HasRetry = retry, true
			}
		}
	}
	o.Err = io.EOF
	if open || len(line) > 0 && line[0] != ':' {
		o.Err = io.ErrUnexpectedEOF
	}
	return o
}

// utf8Decode is "UTF-8 decode" of the Encoding standard: the byte order mark,
// and then its UTF-8 decoder, a byte at a time.
func utf8Decode(b []byte) string {
	if len(b) >= 3 && b[0] == 0xEF && b[1] == 0xBB && b[2] == 0xBF {
		b = b[3:]
	}
	var out []rune
	codePoint, seen, needed := rune(0), 0, 0
	lower, upper := byte(0x80), byte(0xBF)
	for i := 0; i < len(b); i++ {
		c := b[i]
		if needed == 0 {
			switch {
			case c <= 0x7F:
				out = append(out, rune(c))
			case 0xC2 <= c && c <= 0xDF:
				needed, codePoint = 1, rune(c&0x1F)
			case 0xE0 <= c && c <= 0xEF:
				if c == 0xE0 {
					lower = 0xA0
				}
				if c == 0xED {
					upper = 0x9F
				}
				needed, codePoint = 2, rune(c&0xF)
			case 0xF0 <= c && c <= 0xF4:
				if c == 0xF0 {
					lower = 0x90
				}
				if c == 0xF4 {
					upper = 0x8F
				}
				needed, codePoint = 3, rune(c&0x7)
			default:
				out = append(out, 0xFFFD)
			}
			continue
		}
		if c < lower || c > upper {
			codePoint, needed, seen, lower, upper = 0, 0, 0, 0x80, 0xBF
			i-- // "Restore byte to ioQueue."
			out = append(out, 0xFFFD)
			continue
		}
		lower, upper = 0x80, 0xBF
		codePoint = codePoint<<6 | rune(c&0x3F)
		if seen++; seen == needed {
			out = append(out, codePoint)
			codePoint, needed, seen = 0, 0, 0
		}
	}
	if needed != 0 {
		out = append(out, 0xFFFD)
	}
	return string(out)
}
