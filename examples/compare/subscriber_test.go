package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const (
	plainHeader   = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
	chunkedHeader = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
)

// chunks encodes body in chunks of at most size bytes.
func chunks(body string, size int) string {
	var b strings.Builder
	for body != "" {
		n := min(size, len(body))
		fmt.Fprintf(&b, "%X\r\n%s\r\n", n, body[:n])
		body = body[n:]
	}
	return b.String()
}

// body is a stream of the events with these numbers.
func body(numbers ...int) string {
	var b []byte
	for _, n := range numbers {
		b = appendData(b, numbered(n, 64))
	}
	return string(b)
}

func TestASubscriberCountsHoweverTheBytesAreCut(t *testing.T) {
	events := body(7, 8, 9, 10)
	for name, response := range map[string]string{
		"not chunked":              plainHeader + events,
		"one chunk":                chunkedHeader + chunks(events, len(events)),
		"chunks that cut a number": chunkedHeader + chunks(events, 3),
	} {
		for _, size := range []int{1, 2, 5, 64, len(response)} {
			t.Run(fmt.Sprintf("%s, reads of %d", name, size), func(t *testing.T) {
				s := subscriber{next: 7}
				total := 0
				for rest := response; rest != ""; {
					n := min(size, len(rest))
					events, err := s.take([]byte(rest[:n]))
					require.NoError(t, err)
					total += events
					rest = rest[n:]
				}
				assert.Equal(t, 4, total)
				assert.Equal(t, 11, s.next)
			})
		}
	}
}

func TestASubscriberAcceptsOnlyTheEventThatIsNext(t *testing.T) {
	for name, c := range map[string]struct {
		response string
		events   int
	}{
		"lost":           {plainHeader + body(0, 1, 3), 2},
		"twice":          {plainHeader + body(0, 1, 1), 2},
		"first lost":     {plainHeader + body(1), 0},
		"not a stream":   {"HTTP/1.1 503 Service Unavailable\r\n\r\n" + body(0), 0},
		"ended":          {chunkedHeader + chunks(body(0), 99) + "0\r\n\r\n", 1},
		"malformed size": {chunkedHeader + "x\r\n", 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := subscriber{next: 0}
			events, err := s.take([]byte(c.response))
			assert.Error(t, err)
			assert.Equal(t, c.events, events)
		})
	}
}

func TestASubscriberMayStartAtAnyNumberButMissNoneAfterIt(t *testing.T) {
	s := subscriber{next: anyNumber}
	events, err := s.take([]byte(plainHeader + body(41, 42)))
	require.NoError(t, err)
	assert.Equal(t, 2, events)
	_, err = s.take([]byte(body(44)))
	assert.Error(t, err)
}

func TestNumberedFillsTheSizeAndHasOneMark(t *testing.T) {
	data := numbered(1234, 64)
	assert.Len(t, data, 64)
	assert.True(t, strings.HasPrefix(data, "#00001234"))
	assert.Equal(t, 1, strings.Count(data, string(mark)))
}
