package sse_test

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/sse"
)

// A parserCase is one of testdata/parser.json, its bytes and texts spelled out.
type parserCase struct {
	ID     string
	Start  string // last event ID before
	Chunks []string
	Want   outcome
	Retry  bool // to be compared
}

func TestDecoderReadsEveryConformanceCase(t *testing.T) {
	for _, c := range parserCases(t) {
		t.Run(c.ID, func(t *testing.T) {
			run := func(how string, chunks []string) {
				got := decode(newDecoder(chunks, c.Start))
				require.Contains(t, []error{io.EOF, io.ErrUnexpectedEOF}, got.Err, how)
				got = got.clean()
				if !c.Retry {
					got.Retry, got.HasRetry = 0, false
				}
				require.Equal(t, c.Want, got, how)
			}
			run("as given", c.Chunks)
			whole := strings.Join(c.Chunks, "")
			run("in one chunk", []string{whole})
			run("byte by byte", strings.Split(whole, ""))
			if len(whole) > 2000 {
				return
			}
			for i := range whole {
				run("cut at "+strconv.Itoa(i), []string{whole[:i], whole[i:]})
			}
		})
	}
}

func TestEncoderWritesEveryConformanceCase(t *testing.T) {
	var file struct {
		Cases []struct {
			ID                string
			Event             *encoderEvent
			Sequence          []encoderEvent
			LastEventIDBefore string `json:"lastEventIdBefore"`
			WantError         bool
			WantParsed        struct {
				Events           []wantEvent
				RetryMs          *int64
				FinalLastEventID string `json:"finalLastEventId"`
			}
		}
	}
	readJSON(t, "testdata/encoder.json", &file)
	require.NotEmpty(t, file.Cases)
	for _, c := range file.Cases {
		t.Run(c.ID, func(t *testing.T) {
			if c.Event != nil {
				c.Sequence = []encoderEvent{*c.Event}
			}
			var stream []byte
			for _, ev := range c.Sequence {
				var err error
				before := string(stream)
				if stream, err = ev.append(stream); c.WantError {
					var fieldErr *sse.FieldError
					require.ErrorAs(t, err, &fieldErr)
					require.Equal(t, before, string(stream))
					return
				}
				require.NoError(t, err)
			}
			want := newOutcome(c.WantParsed.Events, c.WantParsed.RetryMs, c.WantParsed.FinalLastEventID)
			got := decode(newDecoder([]string{string(stream)}, c.LastEventIDBefore))
			require.Equal(t, io.EOF, got.Err)
			require.Equal(t, want, got.clean())
		})
	}
}

// An encoderEvent is what a case of encoder.json asks to write. What is absent
// is nil.
type encoderEvent struct {
	ID, Type, Data, Comment *string
	RetryMs                 *int64
}

// append writes e with the functions that are made for what it has.
func (e encoderEvent) append(b []byte) (_ []byte, err error) {
	if e.Comment != nil {
		b = sse.AppendComment(b, *e.Comment)
	}
	if e.ID != nil && (*e.ID == "" || e.Data == nil) {
		if b, err = sse.AppendID(b, *e.ID); err != nil {
			return b, err
		}
	}
	var ev sse.Event
	if e.RetryMs != nil {
		ev.Retry = time.Duration(*e.RetryMs) * time.Millisecond
	}
	if e.Data == nil {
		if e.RetryMs != nil {
			b = sse.AppendRetry(b, ev.Retry)
		}
		return b, nil
	}
	ev.Data = *e.Data
	if e.ID != nil {
		ev.ID = *e.ID
	}
	if e.Type != nil {
		ev.Type = *e.Type
	}
	return ev.AppendTo(b)
}

// A wantEvent is an event as the cases write it down.
type wantEvent struct {
	Type, Data  string
	LastEventID string `json:"lastEventId"`
}

func newOutcome(events []wantEvent, retryMs *int64, lastID string) outcome {
	o := outcome{LastEventID: lastID}
	for _, ev := range events {
		if ev.Type == "message" {
			ev.Type = ""
		}
		o.Events = append(o.Events, sse.Event{ID: ev.LastEventID, Type: ev.Type, Data: ev.Data})
	}
	if retryMs != nil {
		o.Retry, o.HasRetry = time.Duration(*retryMs)*time.Millisecond, true
	}
	return o
}

// parserCases reads testdata/parser.json, whose notation spares it large texts.
func parserCases(t testing.TB) []parserCase {
	var file struct {
		Cases []struct {
			ID                   string
			Chunks, Want         []json.RawMessage
			WantRetryMs          *int64
			RetryUnchecked       bool
			StartLastEventID     string          `json:"startLastEventId"`
			WantFinalLastEventID json.RawMessage `json:"wantFinalLastEventId"`
		}
	}
	readJSON(t, "testdata/parser.json", &file)
	require.NotEmpty(t, file.Cases)
	var cases []parserCase
	for _, c := range file.Cases {
		pc := parserCase{ID: c.ID, Start: c.StartLastEventID, Retry: !c.RetryUnchecked}
		for _, chunk := range c.Chunks {
			pc.Chunks = append(pc.Chunks, spellChunks(t, chunk)...)
		}
		var events []wantEvent
		for _, want := range c.Want {
			events = append(events, spellEvents(t, want)...)
		}
		pc.Want = newOutcome(events, c.WantRetryMs, spell(t, c.WantFinalLastEventID, false))
		if c.RetryUnchecked {
			pc.Want.Retry, pc.Want.HasRetry = 0, false
		}
		cases = append(cases, pc)
	}
	return cases
}

// spell returns the text, or the bytes if a plain string is base64, that raw
// stands for.
func spell(t testing.TB, raw json.RawMessage, isBase64 bool) string {
	if raw[0] == '"' {
		var s string
		require.NoError(t, json.Unmarshal(raw, &s))
		if isBase64 {
			b, err := base64.StdEncoding.DecodeString(s)
			require.NoError(t, err)
			return string(b)
		}
		return s
	}
	var v struct {
		Repeat   json.RawMessage
		Count    int
		Template *string
		From, To int
		Parts    []json.RawMessage
	}
	require.NoError(t, json.Unmarshal(raw, &v))
	var b strings.Builder
	switch {
	case v.Repeat != nil:
		return strings.Repeat(spell(t, v.Repeat, isBase64), v.Count)
	case v.Template != nil:
		for i := v.From; i <= v.To; i++ {
			b.WriteString(strings.ReplaceAll(*v.Template, "{i}", strconv.Itoa(i)))
		}
	default:
		for _, part := range v.Parts {
			b.WriteString(spell(t, part, isBase64))
		}
	}
	return b.String()
}

func spellChunks(t testing.TB, raw json.RawMessage) []string {
	var v struct {
		Chunk        json.RawMessage
		Times, Split int
	}
	if raw[0] == '{' {
		require.NoError(t, json.Unmarshal(raw, &v))
	}
	if v.Chunk == nil {
		return []string{spell(t, raw, true)}
	}
	chunk := spell(t, v.Chunk, true)
	var chunks []string
	for range v.Times {
		chunks = append(chunks, chunk)
	}
	if v.Split > 0 {
		chunks = append(chunks, pieces(chunk, v.Split)...)
	}
	return chunks
}

func spellEvents(t testing.TB, raw json.RawMessage) []wantEvent {
	type event struct {
		Type, Data  json.RawMessage
		LastEventID json.RawMessage `json:"lastEventId"`
	}
	var v struct {
		event
		Each     *event
		From, To int
	}
	require.NoError(t, json.Unmarshal(raw, &v))
	one := v.event
	if v.Each == nil {
		return []wantEvent{{spell(t, one.Type, false), spell(t, one.Data, false), spell(t, one.LastEventID, false)}}
	}
	var events []wantEvent
	for i := v.From; i <= v.To; i++ {
		at := func(raw json.RawMessage) string {
			return strings.ReplaceAll(spell(t, raw, false), "{i}", strconv.Itoa(i))
		}
		events = append(events, wantEvent{at(v.Each.Type), at(v.Each.Data), at(v.Each.LastEventID)})
	}
	return events
}

func readJSON(t testing.TB, path string, v any) {
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, v))
}
