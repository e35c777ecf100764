package sse_test

import (
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/sse"
)

func TestAnEventOfExactlyTheLimitPassesAndOneByteMoreDoesNot(t *testing.T) {
	const limit = 9_999
	x := func(n int) string { return strings.Repeat("x", n) }
	for name, stream := range map[string]func(n int) string{ // n bytes in all
		"data":               func(n int) string { return "data: " + x(n) + "\n\n" },
		"data without space": func(n int) string { return "data:" + x(n) + "\n\n" },
		"data of many lines": func(n int) string { return strings.Repeat("data: xx\n", 1000) + "data: " + x(n-3000) + "\n\n" },
		"empty lines":        func(n int) string { return strings.Repeat("data\n", n+1) + "\n" },
		"data and type":      func(n int) string { return "data: " + x(n-100) + "\nevent: " + x(100) + "\n\n" },
		"data and id":        func(n int) string { return "id: " + x(n-100) + "\ndata: " + x(100) + "\n\n" },
		"the last type":      func(n int) string { return "event: " + x(limit) + "\nevent: e\ndata: " + x(n-1) + "\n\n" },
		"replaced bytes":     func(n int) string { return "data: " + strings.Repeat("\xff", 3333) + x(n-limit) + "\n\n" },
		"an id alone":        func(n int) string { return "id: " + x(n) + "\n\ndata\n\n" },
		"an id not sent":     func(n int) string { return "id: " + x(limit) + "\n\ndata: " + x(n) + "\n\n" },
		"a line":             func(n int) string { return x(n+7) + "\ndata\n\n" },
		"a comment":          func(n int) string { return ":" + x(n+6) + "\ndata\n\n" },
	} {
		for _, size := range []int{1, 7, 4096, 1 << 20} {
			for n, want := range map[int]error{limit: nil, limit + 1: sse.ErrTooLong} {
				d := newDecoder(pieces(stream(n), size), "")
				d.SetMaxEventSize(limit)
				_, err := d.Decode()
				assert.Equal(t, want, err, "%s: %d bytes in chunks of %d", name, n, size)
			}
		}
	}
}

func TestWhatIsSmallerThanTheLimitNeverAddsUp(t *testing.T) {
	stream := strings.Repeat(": a comment\nunknown: field\n", 10_000) + "data: a\n\n"
	d := sse.NewDecoder(strings.NewReader(strings.Repeat(stream, 2)))
	d.SetMaxEventSize(20)
	for range 2 {
		ev, err := d.Decode()
		require.NoError(t, err)
		assert.Equal(t, sse.Event{Data: "a"}, ev)
	}
	_, err := d.Decode()
	assert.Equal(t, io.EOF, err)
}

func TestTheLimitCanBeTheDefaultOrNone(t *testing.T) {
	for n, want := range map[int]error{0: sse.ErrTooLong, -1: nil, 1<<63 - 1: nil, sse.DefaultMaxEventSize + 1: nil} {
		d := sse.NewDecoder(strings.NewReader("data: " + strings.Repeat("x", sse.DefaultMaxEventSize+1) + "\n\n"))
		d.SetMaxEventSize(5)
		d.SetMaxEventSize(n)
		_, err := d.Decode()
		assert.Equal(t, want, err, n)
	}
}

func TestAnEndlessLineTakesNoMoreMemoryThanTheLimit(t *testing.T) {
	const limit = 1 << 20
	for _, begin := range []string{"data: ", ":", "id: ", "event: ", "x", "data: \ndata: "} {
		read, largest := 0, 0
		d := sse.NewDecoder(io.MultiReader(strings.NewReader(begin), readerFunc(func(p []byte) (int, error) {
			n := copy(p, strings.Repeat("x", 1000))
			read, largest = read+n, max(largest, len(p))
			return n, nil
		})))
		d.SetMaxEventSize(limit)
		_, err := d.Decode()
		assert.Equal(t, sse.ErrTooLong, err)
		assert.InDelta(t, limit, read, 2000, begin)
		assert.LessOrEqual(t, largest, limit, begin)
	}
}

func TestTheBufferOfALargeEventIsGivenBack(t *testing.T) {
	stream := strings.NewReader("data: " + strings.Repeat("x", 8<<20) + "\n\ndata: small\n\n: c")
	largest, last := 0, 0
	d := sse.NewDecoder(readerFunc(func(p []byte) (int, error) {
		largest, last = max(largest, len(p)), len(p)
		return stream.Read(p)
	}))
	for range d.Events() {
	}
	assert.Greater(t, largest, 1<<20)
	assert.LessOrEqual(t, last, 64<<10)
}
