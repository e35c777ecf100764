package sse_test

import (
	"bytes"
	"io"
	"math"
	"runtime"
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

func TestEverythingThatASmallBlockSetsCounts(t *testing.T) {
	const limit = 12
	for stream, want := range map[string]error{
		"id: 1234\nevent: 5678\ndata: 9abc\n\n":  nil,
		"id: 1234\nevent: 5678\ndata: 9abcd\n\n": sse.ErrTooLong,
		"id: 1234\ndata: 56789abc\n\n":           nil,
		"id: 1234\ndata: 56789abcd\n\n":          sse.ErrTooLong,
		"data: 1234\ndata: 56789ab\n\n":          nil,
		"data: 1234\ndata: 56789abc\n\n":         sse.ErrTooLong,
		"id: \xff234\ndata: 56789a\n\n":          nil,
		"id: \xff234\ndata: 56789ab\n\n":         sse.ErrTooLong,
	} {
		d := sse.NewDecoder(strings.NewReader(stream))
		d.SetMaxEventSize(limit)
		_, err := d.Decode()
		assert.Equal(t, want, err, stream)
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
	for n, want := range map[int]error{0: sse.ErrTooLong, -1: nil, math.MaxInt: nil, sse.DefaultMaxEventSize + 1: nil} {
		d := sse.NewDecoder(strings.NewReader("data: " + strings.Repeat("x", sse.DefaultMaxEventSize+1) + "\n\n"))
		d.SetMaxEventSize(5)
		d.SetMaxEventSize(n)
		_, err := d.Decode()
		assert.Equal(t, want, err, n)
	}
}

func TestAnEndlessBlockTakesNoMoreMemoryThanTheLimit(t *testing.T) {
	const limit = 1 << 20
	for _, c := range []struct{ begin, repeated string }{
		{"data: ", "x"}, {":", "x"}, {"id: ", "x"}, {"event: ", "x"}, {"", "x"}, {"data: \ndata: ", "x"},
		{"", "data: 123\n"}, // ten bytes of the stream for four of the event
	} {
		endless := strings.Repeat(c.repeated, 1000)
		read, largest := 0, 0
		d := sse.NewDecoder(io.MultiReader(strings.NewReader(c.begin), readerFunc(func(p []byte) (int, error) {
			n := copy(p, endless[read%len(c.repeated):])
			read, largest = read+n, max(largest, len(p))
			return n, nil
		})))
		d.SetMaxEventSize(limit)
		_, err := d.Decode()
		assert.Equal(t, sse.ErrTooLong, err)
		want := limit
		if len(c.repeated) > 1 {
			want = limit * 10 / 4
		}
		assert.InDelta(t, want, read, 10_000, "%q", c)
		assert.LessOrEqual(t, largest, limit, "%q", c)
	}
}

func TestTheMemoryOfALargeEventIsGivenBack(t *testing.T) {
	big := strings.Repeat("x", 8<<20)
	for name, event := range map[string]string{
		"one line":  "data: " + big + "\n\n",
		"two lines": "data: " + big + "\ndata: 2\n\n",
		"its type":  "event: " + big + "\ndata\n\n",
		"its ID":    "id: " + big + "\ndata\n\nid: 2\n\n",
		"a comment": ": " + big + "\n\n",
		"no field":  "x: " + big + "\n\n",
	} {
		stream := strings.NewReader(event + "data: small\n\n: c")
		largest, last := 0, 0
		d := sse.NewDecoder(readerFunc(func(p []byte) (int, error) {
			largest, last = max(largest, len(p)), len(p)
			return stream.Read(p)
		}))
		before := heap()
		for range d.Events() {
		}
		assert.Greater(t, largest, 1<<20, name)
		assert.LessOrEqual(t, last, 64<<10, name)
		assert.Less(t, heap(), before+1<<20, name)
		runtime.KeepAlive(d)
	}
}

func TestAStreamIsReadInLargerPiecesAsLongAsThereIsMore(t *testing.T) {
	event := []byte("data: " + strings.Repeat("x", 50) + "\n\n")
	for most, want := range map[int]int{1000: 4 << 10, 1 << 20: 32 << 10} {
		left, room := 1<<20, 0
		d := sse.NewDecoder(readerFunc(func(p []byte) (n int, err error) {
			room = len(p)
			for n+len(event) <= min(len(p), most) {
				n += copy(p[n:], event)
			}
			if most > len(p) {
				n += copy(p[n:], bytes.Repeat([]byte("\n"), len(p)-n)) // all the room is used
			}
			if left -= n; left < 0 {
				err = io.EOF
			}
			return n, err
		}))
		for _, err := range d.Events() {
			require.NoError(t, err)
		}
		assert.Equal(t, want, room, "at most %d bytes at a time", most)
	}
}

// Of what a program keeps of a long stream, how much memory does it keep?
func TestAStringThatIsKeptKeepsAsMuchAsIsSaid(t *testing.T) {
	const kept, each = 200, 100
	for _, c := range []struct {
		size, most int // of the string, and of what it keeps
		busy       bool
	}{
		{10, 512, false}, {64, 512, false}, {65, 80, false}, {500, 512, false},
		{10, 4096, true}, {512, 4096, true}, {513, 576, true},
	} {
		event := []byte("data: " + strings.Repeat("x", c.size) + "\n\n")
		left := kept * each
		d := sse.NewDecoder(readerFunc(func(p []byte) (n int, err error) {
			for n+len(event) <= len(p) && left > 0 {
				n += copy(p[n:], event)
				if left--; !c.busy {
					break
				}
			}
			if n == 0 {
				return 0, io.EOF
			}
			for c.busy && n < len(p) && left > 0 {
				n += copy(p[n:], "\n") // so that the buffer becomes a large one
			}
			return n, nil
		}))
		strs := make([]string, 0, kept)
		before, n := heap(), 0
		for ev, err := range d.Events() {
			require.NoError(t, err)
			if n++; n%each == 0 {
				strs = append(strs, ev.Data)
			}
		}
		require.Len(t, strs, kept)
		assert.LessOrEqual(t, int(heap()-before)/kept, c.most+c.most/8+200, "%+v", c) // and a share of the buffer
		runtime.KeepAlive(strs)
	}
}

// heap returns how many bytes are in use.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
