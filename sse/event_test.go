package sse_test

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/sse"
)

func TestAppendToWritesTheseBytes(t *testing.T) {
	for want, ev := range map[string]sse.Event{
		"data: \n\n":                       {},
		"data: a\n\n":                      {Data: "a"},
		"data:  a\n\n":                     {Data: " a"},
		"id: 1\ndata: \n\n":                {ID: "1"},
		"event: add\ndata: a\n\n":          {Type: "add", Data: "a"},
		"retry: 1\ndata: \n\n":             {Retry: 1},
		"data: a\ndata: \n\n":              {Data: "a\n"},
		"data: \ndata: a\n\n":              {Data: "\r\na"},
		"data: \ndata: \ndata: \n\n":       {Data: "\n\r"},
		"data: \ndata: \n\n":               {Data: "\r\n"},
		"data: a\ndata: \ndata: b\n\n":     {Data: "a\r\rb"},
		"data: \u0085\u2028\v\f\x00\n\n":   {Data: "\u0085\u2028\v\f\x00"},
		"event: \x00\ndata: \n\n":          {Type: "\x00"},
		"retry: 9223372036855\ndata: \n\n": {Retry: math.MaxInt64},
		"id: 1\nevent: add\nretry: 1501\ndata: a\ndata: b\ndata: c\ndata: d\n\n": {
			ID: "1", Type: "add", Data: "a\nb\r\nc\rd", Retry: 1500*time.Millisecond + 1,
		},
	} {
		for _, b := range [][]byte{nil, []byte("before"), make([]byte, 0, 1000)} {
			got, err := ev.AppendTo(b)
			require.NoError(t, err)
			assert.Equal(t, string(b)+want, string(got))
		}
	}
}

func TestWhatCannotBeEncodedIsRefusedWithoutWriting(t *testing.T) {
	type refusal struct{ Field, Value, Text string }
	for want, ev := range map[refusal]sse.Event{
		{"id", "a\nb", `sse: id field "a\nb" has a line end`}:                   {ID: "a\nb", Data: "x"},
		{"id", "\r", `sse: id field "\r" has a line end`}:                       {ID: "\r", Type: "\n"},
		{"id", "a\x00", `sse: id field "a\x00" has a NUL`}:                      {ID: "a\x00"},
		{"id", "\x00a", `sse: id field "\x00a" has a NUL`}:                      {ID: "\x00a"},
		{"id", "\na", `sse: id field "\na" has a line end`}:                     {ID: "\na"},
		{"event", "a\ndata: b", `sse: event field "a\ndata: b" has a line end`}: {ID: "1", Type: "a\ndata: b"},
		{"event", "\r", `sse: event field "\r" has a line end`}:                 {Type: "\r"},
		{"retry", "-1ns", `sse: retry field "-1ns" is negative`}:                {Retry: -1},
	} {
		b := append(make([]byte, 0, 1000), "before"...)
		got, err := ev.AppendTo(b)
		var fieldErr *sse.FieldError
		require.ErrorAs(t, err, &fieldErr)
		assert.Equal(t, want, refusal{fieldErr.Field, fieldErr.Value, err.Error()})
		assert.Equal(t, "before", string(got))
		assert.Equal(t, make([]byte, 994), b[6:1000], "nothing is written behind it either")
	}
	_, err := sse.AppendID(nil, strings.Repeat("x", 1<<20)+"\n")
	require.Error(t, err)
	assert.Less(t, len(err.Error()), 200)
}

func TestTheSiblingsOfAppendToWriteTheseBytes(t *testing.T) {
	for text, want := range map[string]string{
		"":                  ":\n\n",
		"hi":                ": hi\n\n",
		" hi":               ":  hi\n\n",
		"a\nb\rc\r\nd":      ": a\n: b\n: c\n: d\n\n",
		"\n":                ": \n: \n\n",
		"hi\n\ndata: pwned": ": hi\n: \n: data: pwned\n\n",
	} {
		assert.Equal(t, "before"+want, string(sse.AppendComment([]byte("before"), text)))
	}
	for d, want := range map[time.Duration]string{
		-1:                     "",
		math.MinInt64:          "",
		0:                      "retry: 0\n\n",
		1:                      "retry: 1\n\n",
		time.Millisecond:       "retry: 1\n\n",
		1500 * time.Nanosecond: "retry: 1\n\n",
		time.Millisecond + 1:   "retry: 2\n\n",
		math.MaxInt64:          "retry: 9223372036855\n\n",
	} {
		assert.Equal(t, "before"+want, string(sse.AppendRetry([]byte("before"), d)))
	}
	for id, want := range map[string]string{"": "id: \n\n", "1": "id: 1\n\n", " 1": "id:  1\n\n"} {
		got, err := sse.AppendID([]byte("before"), id)
		require.NoError(t, err)
		assert.Equal(t, "before"+want, string(got))
	}
	for _, id := range []string{"\n", "\r", "a\x00b"} {
		got, err := sse.AppendID([]byte("before"), id)
		assert.Equal(t, &sse.FieldError{Field: "id", Value: id}, err)
		assert.Equal(t, "before", string(got))
	}
}

func TestEncodingAllocatesOnlyWhatTheBufferLacks(t *testing.T) {
	lines := strings.Repeat("line\r\n", 500) + strings.Repeat("line\n", 500) + strings.Repeat("line\r", 500)
	ev := sse.Event{ID: "1", Type: "add", Data: lines, Retry: math.MaxInt64}
	for name, appendTo := range map[string]func(b []byte) []byte{
		"event":   func(b []byte) []byte { b, _ = ev.AppendTo(b); return b },
		"data":    func(b []byte) []byte { b, _ = sse.Event{Data: "x"}.AppendTo(b); return b },
		"comment": func(b []byte) []byte { return sse.AppendComment(b, lines) },
		"ID":      func(b []byte) []byte { b, _ = sse.AppendID(b, "1"); return b },
		"retry":   func(b []byte) []byte { return sse.AppendRetry(b, math.MaxInt64) },
	} {
		exact := make([]byte, 0, len(appendTo(nil)))
		assert.Zerof(t, testing.AllocsPerRun(100, func() { appendTo(exact) }), "%s: a buffer with room for exactly that much", name)
	}
	// One, and under the race detector another within slices.Grow.
	assert.LessOrEqual(t, testing.AllocsPerRun(100, func() { ev.AppendTo(nil) }), 2.0)
	assert.LessOrEqual(t, testing.AllocsPerRun(100, func() { sse.AppendComment(nil, lines) }), 2.0)
}

func TestAnEventIsAnOrdinaryValueToOtherEncoders(t *testing.T) {
	b, err := json.Marshal(sse.Event{ID: "1", Data: "a"})
	require.NoError(t, err)
	assert.JSONEq(t, `{"ID":"1","Type":"","Data":"a","Retry":0}`, string(b))
	assert.Equal(t, "{1  a 0s}", fmt.Sprint(sse.Event{ID: "1", Data: "a"}))
}
