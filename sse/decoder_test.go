package sse_test

import (
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/sse"
)

var errRead = errors.New("read error")

func TestAnEventIsDeliveredAtTheEndOfItsBlankLineWithoutAnotherRead(t *testing.T) {
	for _, end := range []string{"\n", "\r", "\r\n"} {
		t.Run(fmt.Sprintf("%q", end), func(t *testing.T) {
			stream := "id: 1" + end + "data: a" + end + end
			if end == "\r\n" {
				stream = strings.TrimSuffix(stream, "\n") // the CR has ended the line
			}
			for _, chunks := range [][]string{{stream}, strings.Split(stream, "")} {
				d := sse.NewDecoder(&chunkReader{chunks: chunks, err: errRead})
				ev, err := d.Decode()
				require.NoError(t, err)
				assert.Equal(t, sse.Event{ID: "1", Data: "a"}, ev)
				_, err = d.Decode()
				assert.Equal(t, errRead, err)
			}
		})
	}
}

func TestNothingIsReadWhileACompleteEventIsInTheBuffer(t *testing.T) {
	reads := 0
	r := &chunkReader{chunks: []string{"data: 1\n\ndata: 2\n\ndata: 3\r\r"}}
	d := sse.NewDecoder(readerFunc(func(p []byte) (int, error) {
		reads++
		return r.Read(p)
	}))
	for range 3 {
		_, err := d.Decode()
		require.NoError(t, err)
	}
	assert.Equal(t, 1, reads)
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestTheErrorAtTheEndSaysWhetherABlockWasCut(t *testing.T) {
	for stream, want := range map[string]error{
		"":                       io.EOF,
		"\uFEFF":                 io.EOF,
		"\n\r\n":                 io.EOF,
		"data: a\n\n":            io.EOF,
		"data: a\r\r":            io.EOF,
		"data: a\n\n: comment":   io.EOF,
		": comment\n":            io.EOF,
		"id: 1\n\n:":             io.EOF,
		"\xEF\xBB":               io.ErrUnexpectedEOF,
		"d":                      io.ErrUnexpectedEOF,
		"data: a":                io.ErrUnexpectedEOF,
		"data: a\n":              io.ErrUnexpectedEOF,
		"data: a\n: comment":     io.ErrUnexpectedEOF,
		"data: a\n: comment\n":   io.ErrUnexpectedEOF,
		"id: 1\r":                io.ErrUnexpectedEOF,
		"retry: 1\n":             io.ErrUnexpectedEOF,
		"retry: x\n":             io.ErrUnexpectedEOF,
		"id: \x00\n":             io.ErrUnexpectedEOF,
		"event\n":                io.ErrUnexpectedEOF,
		"unknown\n":              io.ErrUnexpectedEOF,
		"data: a\n\n\uFEFF: b\n": io.ErrUnexpectedEOF,
	} {
		for _, chunks := range [][]string{{stream}, strings.Split(stream, "")} {
			d := sse.NewDecoder(&chunkReader{chunks: chunks})
			for range d.Events() {
			}
			_, err := d.Decode()
			assert.Equal(t, want, err, "%q", chunks)
		}
	}
}

func TestErrorsAreFinal(t *testing.T) {
	reads := 0
	d := sse.NewDecoder(readerFunc(func(p []byte) (int, error) {
		reads++
		return copy(p, "data: a\n\ndata: b\n\ndata"), errRead
	}))
	for _, data := range []string{"a", "b"} {
		ev, err := d.Decode()
		require.NoError(t, err)
		require.Equal(t, sse.Event{Data: data}, ev)
	}
	for range 3 {
		ev, err := d.Decode()
		require.Equal(t, errRead, err)
		require.Zero(t, ev)
	}
	assert.Equal(t, 1, reads)
}

func TestAReaderThatReturnsNothingManyTimesIsAnError(t *testing.T) {
	d := sse.NewDecoder(readerFunc(func([]byte) (int, error) { return 0, nil }))
	_, err := d.Decode()
	assert.Equal(t, io.ErrNoProgress, err)

	few := 0
	r := strings.NewReader("data: a\n\n")
	d = sse.NewDecoder(readerFunc(func(p []byte) (int, error) {
		if few++; few%50 != 0 {
			return 0, nil
		}
		return r.Read(p[:1])
	}))
	ev, err := d.Decode()
	require.NoError(t, err)
	assert.Equal(t, sse.Event{Data: "a"}, ev)
}

func TestAReaderThatMiscountsIsAnError(t *testing.T) {
	for _, n := range []int{-1, 1 << 30} {
		d := sse.NewDecoder(readerFunc(func([]byte) (int, error) { return n, nil }))
		_, err := d.Decode()
		assert.ErrorContains(t, err, "sse: ")
	}
}

func TestEventsEndsSilentlyAtTheEndAndElseWithTheError(t *testing.T) {
	type element struct {
		Event sse.Event
		Err   error
	}
	collect := func(r io.Reader) (all []element) {
		for ev, err := range sse.Events(r) {
			all = append(all, element{ev, err})
		}
		return all
	}
	a, b := element{Event: sse.Event{Data: "a"}}, element{Event: sse.Event{Data: "b"}}
	const stream = "data: a\n\ndata: b\n\n"
	assert.Equal(t, []element{a, b}, collect(strings.NewReader(stream)))
	assert.Equal(t, []element{a, b, {Err: io.ErrUnexpectedEOF}}, collect(strings.NewReader(stream+"data: c\n")))
	assert.Equal(t, []element{a, b, {Err: errRead}}, collect(io.MultiReader(strings.NewReader(stream), iotest.ErrReader(errRead))))
}

func TestALoopOverEventsCanBeContinued(t *testing.T) {
	d := sse.NewDecoder(strings.NewReader("data: 1\n\ndata: 2\n\ndata: 3\n\n"))
	for ev, err := range d.Events() {
		require.NoError(t, err)
		require.Equal(t, "1", ev.Data)
		break
	}
	ev, err := d.Decode()
	require.NoError(t, err)
	require.Equal(t, "2", ev.Data)
	for ev, err := range d.Events() {
		require.NoError(t, err)
		require.Equal(t, "3", ev.Data)
	}
}

func TestTheLastEventIDIsTakenAtTheBlankLine(t *testing.T) {
	d := newDecoder([]string{"id: 1\ndata: a\n\nid: 2\n\ndata: b\n\nid\ndata: c\n\nid: 3\ndata: d\n"}, "0")
	assert.Equal(t, "0", d.LastEventID())
	for _, want := range []sse.Event{{ID: "1", Data: "a"}, {ID: "2", Data: "b"}, {Data: "c"}} {
		ev, err := d.Decode()
		require.NoError(t, err)
		assert.Equal(t, want, ev)
		assert.Equal(t, want.ID, d.LastEventID())
	}
	_, err := d.Decode()
	assert.Equal(t, io.ErrUnexpectedEOF, err)
	assert.Equal(t, "", d.LastEventID(), "the block of id 3 was not finished")
}

func TestRetryIsTheLastValidOneAndEffectiveAtItsLine(t *testing.T) {
	const longest = math.MaxInt64 / time.Millisecond * time.Millisecond
	type retry struct {
		time.Duration
		OK bool
	}
	for stream, want := range map[string]retry{
		"":                                                {},
		"retry\nretry:\nretry: \n":                        {},
		"retry: +5\nretry: -5\nretry: 5 \n":               {},
		"retry: ٣\nretry: 0x5\nretry: 1e3\n":              {},
		"retry: 5":                                        {}, // the line has no end
		"retry: 5\n":                                      {5 * time.Millisecond, true},
		"retry:0\n":                                       {0, true},
		"retry: 007\nretry: x\n":                          {7 * time.Millisecond, true},
		"retry: 1\n\nretry: 2\n\n":                        {2 * time.Millisecond, true},
		"retry: 9223372036854\n":                          {longest, true},
		"retry: 9223372036855\n":                          {longest, true},
		"retry: 9223372036854775808\n":                    {longest, true},
		"retry: 18446744073709551617\n":                   {longest, true},
		"retry: " + strings.Repeat("9", 500) + "\n":       {longest, true},
		"retry: " + strings.Repeat("0", 500) + "1200\n\n": {1200 * time.Millisecond, true},
	} {
		got := decode(newDecoder([]string{stream}, ""))
		assert.Equal(t, want, retry{got.Retry, got.HasRetry}, stream)
	}

	got := decode(newDecoder([]string{"retry: 5\ndata: a\n\ndata: b\n\nretry: 6\n\ndata: c\n\n"}, ""))
	assert.Equal(t, []sse.Event{{Data: "a", Retry: 5 * time.Millisecond}, {Data: "b"}, {Data: "c"}}, got.Events)
}

func TestCommentsAreReportedBeforeTheirEventIsComplete(t *testing.T) {
	chunks := []string{":Hello\n", "data: a\n: World\r", ":  two\n:\n", "data: b\n\n"}
	var log []string
	r := &chunkReader{chunks: chunks}
	d := sse.NewDecoder(readerFunc(func(p []byte) (int, error) {
		log = append(log, "read")
		return r.Read(p)
	}))
	d.OnComment(func(text string) { log = append(log, text) })
	ev, err := d.Decode()
	require.NoError(t, err)
	assert.Equal(t, sse.Event{Data: "a\nb"}, ev)
	assert.Equal(t, []string{"read", "Hello", "read", "World", "read", " two", "", "read"}, log)
}

func TestResetStartsAnotherStreamAndKeepsTheSettings(t *testing.T) {
	d := sse.NewDecoder(strings.NewReader("retry: 5\nid: 1\ndata: a\n\nid: 2\nevent: b\ndata: lost\r"))
	d.SetMaxEventSize(20)
	var comments []string
	d.OnComment(func(text string) { comments = append(comments, text) })
	for range d.Events() {
	}
	require.Equal(t, "1", d.LastEventID())

	d.Reset(strings.NewReader("\uFEFF\n: hi\ndata: b\n\ndata: of more than 20 bytes\n\n"), "7")
	ev, err := d.Decode()
	require.NoError(t, err)
	assert.Equal(t, sse.Event{ID: "7", Data: "b"}, ev)
	assert.Equal(t, 5*time.Millisecond, d.Retry())
	assert.Equal(t, []string{"hi"}, comments)
	_, err = d.Decode()
	assert.ErrorIs(t, err, sse.ErrTooLong)

	d.Reset(strings.NewReader("data: c\n\n"), "")
	ev, err = d.Decode()
	require.NoError(t, err)
	assert.Equal(t, sse.Event{Data: "c"}, ev)
}

func TestALineEndOfTheOldStreamIsNotPartOfTheNext(t *testing.T) {
	d := sse.NewDecoder(strings.NewReader("data: a\r\r"))
	_, err := d.Decode()
	require.NoError(t, err)
	_, err = d.Decode()
	require.Equal(t, io.EOF, err)
	d.Reset(&chunkReader{chunks: []string{"\ndata: b\n\n"}}, "")
	ev, err := d.Decode()
	require.NoError(t, err)
	assert.Equal(t, sse.Event{Data: "b"}, ev)
}

// A value that is still in the buffer when a line is added to another is where a
// fast decoder would go wrong.
func TestLinesInEveryOrderMeanWhatTheStandardSays(t *testing.T) {
	lines := []string{"data: a", "data:a longer line", "data", "id: 5", "id:another ID", "id", "event: e", "event: another type", "retry: 7", ":comment", "x: y"}
	var check func(block string, more int)
	check = func(block string, more int) {
		stream := block + "\ndata: next\n\n"
		want := transcribe(stream, "start")
		for _, chunks := range [][]string{{stream}, {stream[:len(block)/2], stream[len(block)/2:]}} {
			if got := decode(newDecoder(chunks, "start")); !assert.ObjectsAreEqual(want, got) {
				require.Equal(t, want, got, "%q", chunks)
			}
		}
		if more > 0 {
			for _, line := range lines {
				check(block+line+"\n", more-1)
			}
		}
	}
	check("", 4)
}

func TestACommentThatIsNotUTF8IsRepaired(t *testing.T) {
	var comments []string
	d := sse.NewDecoder(strings.NewReader(": a\xff\xc3(b\n\n"))
	d.OnComment(func(text string) { comments = append(comments, text) })
	_, err := d.Decode()
	assert.Equal(t, io.EOF, err)
	assert.Equal(t, []string{"a\uFFFD\uFFFD(b"}, comments)
}
