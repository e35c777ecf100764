package sse_test

import (
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/sse"
)

// cut cuts stream in ways that seed chooses.
func cut(stream string, seed uint64) (chunks []string) {
	rng := rand.New(rand.NewPCG(seed, 0))
	longest := 1 + rng.IntN(1+min(len(stream), 1<<(seed%14)))
	for stream != "" {
		n := min(len(stream), 1+rng.IntN(longest))
		chunks = append(chunks, stream[:n])
		stream = stream[n:]
	}
	return chunks
}

// addStreams adds the conformance cases, and what they lack, to the seeds of f.
func addStreams(f *testing.F, add func(stream string)) {
	for _, c := range parserCases(f) {
		if stream := strings.Join(c.Chunks, ""); len(stream) < 4000 {
			add(stream)
		}
	}
	add("id: 1\r\ndata: a\r\ndata: b\r\n\r\n: c\r\nid: 2\r\ndata\r\n\r\nid: 3\r\ndata: lost")
	add("event: e\rdata: a\r\rretry: 007\rid: \x00\rdata: b\r\r")
	add("id: \x00\ndata: a\n\nid: 1\ndata: \xff\n\n")
	add("\xEF\xBB\xBFdata: \xED\xA0\x80\xE2\x82\n\xF0\x9F\x98\xEF\xBB\xBF: x\n\n")
	add("data: \xE0\xA0 \xE0\x80 \xF0\x90\x80 \xF0\x8F\x80 \xF4\x8F\xBF \xF4\x90\x80 \xF1\x80\x80 \xC1\x80 \xE1\x80\x80\n\n")
	add("id: " + strings.Repeat("é", 300) + "\n:" + strings.Repeat("x", 5000) + "\ndata:" + strings.Repeat("y", 9000) + "\n\n")
	add(strings.Repeat("data: line\n", 700) + "\n" + strings.Repeat("data: 1\n\n", 700))
}

func FuzzDecoderDoesWhatTheStandardSays(f *testing.F) {
	addStreams(f, func(stream string) {
		for seed := range uint64(3) {
			f.Add(stream, "start", 4*seed+1)
		}
	})
	f.Fuzz(func(t *testing.T, stream, lastEventID string, seed uint64) {
		want := transcribe(stream, lastEventID)
		require.Equal(t, want, decode(newDecoder(cut(stream, seed), lastEventID)))

		// The last bytes and the error in one Read, a used Decoder.
		d := newDecoder([]string{"\xEF\xBB\xBFid: old\ndata: of another stream\r"}, "")
		decode(d)
		_, had := d.LastRetry()
		require.False(t, had)
		d.Reset(iotest.DataErrReader(strings.NewReader(stream)), lastEventID)
		require.Equal(t, want, decode(d))
	})
}

func FuzzDecoderKeepsItsLimit(f *testing.F) {
	addStreams(f, func(stream string) {
		f.Add(stream, uint16(5), uint64(1))
		f.Add(stream, uint16(1000), uint64(9))
	})
	f.Fuzz(func(t *testing.T, stream string, limit uint16, seed uint64) {
		if limit == 0 {
			return // stands for the default
		}
		limited := func(chunks []string) outcome {
			d := newDecoder(chunks, "")
			d.SetMaxEventSize(int(limit))
			return decode(d)
		}
		got := limited([]string{stream})
		require.Equal(t, got, limited(cut(stream, seed)), "cut differently")

		all := decode(newDecoder([]string{stream}, ""))
		if !errors.Is(got.Err, sse.ErrTooLong) {
			require.Equal(t, all, got)
		}
		require.LessOrEqual(t, len(got.Events), len(all.Events))
		for i, ev := range got.Events {
			require.Equal(t, all.Events[i], ev)
			require.LessOrEqual(t, len(ev.Type)+len(ev.Data), int(limit))
		}
		require.LessOrEqual(t, len(got.LastEventID), int(limit))
	})
}

// arrived returns s as a reader sees it.
func arrived(s string) string {
	s = strings.NewReplacer("\r\n", "\n", "\r", "\n").Replace(s)
	return utf8Decode([]byte("|" + s))[1:] // a U+FEFF at its beginning is no byte order mark
}

func FuzzWhatIsEncodedIsWhatIsDecoded(f *testing.F) {
	f.Add("", "", "", int64(0), "")
	f.Add("1", "add", "one\ntwo\r\nthree\rfour", int64(1), "note")
	f.Add(" 7", " t", " a\n  b\n", int64(1500*time.Millisecond), ": \r\r\n")
	f.Add("a\nevent: alert", "x", "hi", int64(1<<63-1), "hi\n\ndata: pwned")
	f.Add("a", "message\rdata: pwned", "a\nid: evil\n\nevent: evil", int64(-1), "\r")
	f.Add("a\x00b", "\x00", "\x00\u2028\u0085\xff", int64(-1<<63), "\uFEFF")
	f.Fuzz(func(t *testing.T, id, typ, data string, retry int64, comment string) {
		const before = "data: before\n\n"
		ev := sse.Event{ID: id, Type: typ, Data: data, Retry: time.Duration(retry)}
		stream, err := ev.AppendTo([]byte(before))
		refused := strings.ContainsAny(id, "\r\n\x00") || strings.ContainsAny(typ, "\r\n") || retry < 0
		if refused {
			var fieldErr *sse.FieldError
			require.ErrorAs(t, err, &fieldErr)
			require.Equal(t, before, string(stream))
			return
		}
		require.NoError(t, err)
		stream = sse.AppendComment(stream, comment)
		stream = sse.AppendRetry(stream, ev.Retry)
		stream, err = sse.AppendID(stream, id)
		require.NoError(t, err)

		ms := ev.Retry.Milliseconds()
		if ev.Retry > ev.Retry.Truncate(time.Millisecond) {
			ms = min(ms+1, math.MaxInt64/int64(time.Millisecond))
		}
		rounded := time.Duration(ms) * time.Millisecond
		got := decode(newDecoder([]string{string(stream)}, ""))
		want := outcome{
			Events: []sse.Event{
				{Data: "before"},
				{ID: arrived(id), Type: arrived(typ), Data: arrived(data), Retry: rounded},
			},
			Comments:    strings.Split(arrived(comment), "\n"),
			LastEventID: arrived(id),
			Retry:       rounded,
			HasRetry:    true,
			Err:         io.EOF,
		}
		require.Equal(t, want, got)
	})
}
