package sse_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/sse"
)

// What is not plain ASCII is seen wherever in its line it stands.
func TestBytesThatAreOddAreSeenAnywhereInALine(t *testing.T) {
	for n := range 200 {
		plain := strings.Repeat("a", n)
		stream := "id: " + plain + "\xff\ndata: 1\n\n" +
			"event: " + plain + "\xff\ndata: 2\n\n" +
			"data: " + plain + "\xff\n\n" +
			"id: " + plain + "\x00\nevent: " + plain + "\x00\ndata: " + plain + "\x00\n\n" + // an ID with a NUL is none
			"id: " + plain + "\ndata: " + plain + "\n\n" +
			"id: 6\ndata: " + plain + "\xff\n\n"
		for name, r := range map[string]io.Reader{
			"at once":      strings.NewReader(stream),
			"byte by byte": iotest.OneByteReader(strings.NewReader(stream)),
		} {
			var got []sse.Event
			for ev, err := range sse.Events(r) {
				require.NoError(t, err)
				got = append(got, ev)
			}
			odd := plain + "\uFFFD"
			require.Equal(t, []sse.Event{
				{ID: odd, Data: "1"},
				{ID: odd, Type: odd, Data: "2"},
				{ID: odd, Data: odd},
				{ID: odd, Type: plain + "\x00", Data: plain + "\x00"},
				{ID: plain, Data: plain},
				{ID: "6", Data: odd},
			}, got, "%d %s", n, name)
		}
	}
}

func TestAnIDWithANULIsNoneAtTheBeginningOfAStream(t *testing.T) {
	d := sse.NewDecoder(nil)
	d.Reset(strings.NewReader("id: \x00\ndata: a\n\n"), "kept")
	ev, err := d.Decode()
	require.NoError(t, err)
	assert.Equal(t, sse.Event{ID: "kept", Data: "a"}, ev)
}

func TestAnIDIsUTF8ThoughTheOneBeforeWasNot(t *testing.T) {
	d := sse.NewDecoder(nil)
	d.Reset(strings.NewReader("data: a\n\nid: \xff\ndata: b\n\n"), "\xff")
	got := []sse.Event{}
	for ev := range d.Events() {
		got = append(got, ev)
	}
	assert.Equal(t, []sse.Event{{ID: "\xff", Data: "a"}, {ID: "\ufffd", Data: "b"}}, got)
}

// endless yields the same byte for ever.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return copy(p, strings.Repeat("x", len(p))), nil }

// live returns how many bytes are in use.
func live() int {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// unheard is a ResponseWriter that forgets what it gets.
type unheard struct{ header http.Header }

func (u unheard) Header() http.Header       { return u.header }
func (unheard) WriteHeader(int)             {}
func (unheard) Write(p []byte) (int, error) { return len(p), nil }
func (unheard) Flush()                      {}

func TestAWriterGivesBackWhatALargeEventTook(t *testing.T) {
	w, err := sse.NewWriter(unheard{http.Header{}}, httptest.NewRequest("GET", "/", nil), nil)
	require.NoError(t, err)
	const large = 4 << 20
	before := live()
	require.NoError(t, w.Send(sse.Event{Data: strings.Repeat("x", large)}))
	assert.Less(t, live()-before, large/2)
	require.NoError(t, w.Comment(""))
}

func TestAResetGivesBackWhatALargeEventTook(t *testing.T) {
	const large = 4 << 20
	for _, part := range []int{large, 1 << 10} { // in one line, and in many
		before := live()
		var parts []io.Reader
		for range large / part {
			parts = append(parts, strings.NewReader("data: "), io.LimitReader(endless{}, int64(part)), strings.NewReader("\n"))
		}
		d := sse.NewDecoder(io.MultiReader(append(parts, strings.NewReader("\n\n"))...))
		d.SetMaxEventSize(-1)
		_, err := d.Decode()
		require.NoError(t, err)
		parts = nil
		d.Reset(strings.NewReader("data: small\n\n"), "")
		assert.Less(t, live()-before, large/2)
		ev, err := d.Decode()
		require.NoError(t, err)
		assert.Equal(t, "small", ev.Data)
	}
}

func TestAnIDBeforeManyShortLinesKeepsItsPlace(t *testing.T) {
	for lines := 1; lines <= 100; lines++ {
		data := strings.Repeat("some words\n", lines-1) + "end"
		stream := "id: 1\ndata: " + strings.ReplaceAll(data, "\n", "\ndata: ") + "\n\n"
		ev, err := sse.NewDecoder(strings.NewReader(stream + stream)).Decode()
		require.NoError(t, err)
		require.Equal(t, sse.Event{ID: "1", Data: data}, ev)
	}
}

func TestARetryOfAnythingButDigitsIsIgnored(t *testing.T) {
	for _, c := range []string{"/", ":", "-", "+", " ", ".", "e", "\x00", "\xff"} {
		d := sse.NewDecoder(strings.NewReader("retry: 1" + c + "\ndata: 1\n\n"))
		ev, err := d.Decode()
		require.NoError(t, err)
		assert.Zero(t, ev.Retry, "%q", c)
		_, ok := d.LastRetry()
		assert.False(t, ok, "%q", c)
	}
}

func TestALimitOfZeroIsTheDefault(t *testing.T) {
	d := sse.NewDecoder(strings.NewReader("data: " + strings.Repeat("x", 1<<20) + "\n\n"))
	d.SetMaxEventSize(10)
	d.SetMaxEventSize(0)
	ev, err := d.Decode()
	require.NoError(t, err)
	assert.Len(t, ev.Data, 1<<20)
}

// hesitant returns nothing a number of times before it goes on.
type hesitant struct {
	io.Reader
	times int
}

func (h *hesitant) Read(p []byte) (int, error) {
	if h.times--; h.times >= 0 {
		return 0, nil
	}
	return h.Reader.Read(p)
}

func TestAReaderThatMadeNoProgressIsNotAskedAgain(t *testing.T) {
	d := sse.NewDecoder(&hesitant{strings.NewReader("data: 1\n\n"), 1_000})
	for range 20 {
		_, err := d.Decode()
		require.Equal(t, io.ErrNoProgress, err)
	}
	d.Reset(&hesitant{strings.NewReader("data: 1\n\n"), 10}, "")
	ev, err := d.Decode()
	require.NoError(t, err)
	assert.Equal(t, "1", ev.Data)
}

func TestALargeFieldThatAnotherReplacesIsGivenBack(t *testing.T) {
	const large = 8 << 20
	for _, name := range []string{"id", "event"} {
		before := live()
		d := sse.NewDecoder(io.MultiReader(
			strings.NewReader(name+": "), io.LimitReader(endless{}, large), strings.NewReader("\n"),
			strings.NewReader(name+": small\ndata: a\n\n"), strings.NewReader("data: b\n\n")))
		for range 2 {
			_, err := d.Decode()
			require.NoError(t, err)
		}
		assert.Less(t, live()-before, large/2, name)
		runtime.KeepAlive(d)
	}
}
