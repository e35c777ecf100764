package sse

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// MediaType is the media type of an event stream, as in the header fields
// Content-Type and Accept.
const MediaType = "text/event-stream"

// An Event is one server-sent event. The zero Event is valid: an event of the
// default type with empty data.
//
// Text is UTF-8. Where a string is not, it is written as it is, and the reader
// sees U+FFFD in place of what is ill-formed.
type Event struct {
	// ID is the event's ID. When encoding, "" writes no id field, so that the
	// client's last event ID stays what it is; [AppendID] can reset it. When
	// decoding, ID is the last event ID of the stream: as in browsers, an event
	// without an id field has the ID of the event before it: clear it before you
	// send the event on, unless every event has one of its own.
	ID string

	// Type is the name under which browsers dispatch the event. "" is the
	// default type, which browsers dispatch as "message". Leave "error" and
	// "open" to them: what listens to their own events of these names would get
	// it too.
	Type string

	// Data is the payload: any number of lines. LF, CRLF and CR all end a line,
	// and all arrive as LF.
	Data string

	// Retry is the time that a client waits before it reconnects. When
	// encoding, a positive Retry is sent in whole milliseconds, rounded up, and
	// zero sends none. When decoding, it is the time that this event's own
	// block set, or 0 if it set none.
	Retry time.Duration
}

// AppendTo appends the encoding of e to b and returns the extended slice. The
// result is always one event that clients dispatch: the data field is written
// even if Data is empty. AppendTo allocates only if b has not enough room, and
// then once.
//
// If a field cannot be encoded, AppendTo returns b unchanged and a
// [*FieldError]: an ID with CR, LF or NUL, a Type with CR or LF, a negative
// Retry.
func (e Event) AppendTo(b []byte) ([]byte, error) {
	size := len("data: \n\n") + len(e.Data)
	if e.ID != "" {
		if !validID(e.ID) {
			return b, &FieldError{Field: "id", Value: e.ID}
		}
		size += len("id: \n") + len(e.ID)
	}
	if e.Type != "" {
		if hasLineEnd(e.Type) {
			return b, &FieldError{Field: "event", Value: e.Type}
		}
		size += len("event: \n") + len(e.Type)
	}
	var retry []byte
	if e.Retry != 0 {
		if e.Retry < 0 {
			return b, &FieldError{Field: "retry", Value: e.Retry.String()}
		}
		retry = appendRetryField(make([]byte, 0, maxRetryField), e.Retry)
		size += len(retry)
	}
	multi := hasLineEnd(e.Data)
	if multi {
		ends, bytes := lineEnds(e.Data)
		size += ends*len("data: \n") - bytes
	}

	b = slices.Grow(b, size)
	if e.ID != "" {
		b = append(b, "id: "...)
		b = append(b, e.ID...)
		b = append(b, '\n')
	}
	if e.Type != "" {
		b = append(b, "event: "...)
		b = append(b, e.Type...)
		b = append(b, '\n')
	}
	b = append(b, retry...)
	if multi {
		b = appendLines(b, "data: ", e.Data)
		return append(b, '\n'), nil
	}
	b = append(b, "data: "...)
	b = append(b, e.Data...)
	return append(b, "\n\n"...), nil
}

// AppendComment appends text to b as comment lines, one for each line of text,
// followed by a blank line, and returns the extended slice. LF, CRLF and CR all
// end a line. Clients ignore comments; an empty text gives the shortest block
// there is, which keeps an idle connection alive.
//
// The blank line would end an event that is not complete yet, so comments stand
// between events.
func AppendComment(b []byte, text string) []byte {
	if text == "" {
		return append(b, ":\n\n"...)
	}
	ends, bytes := lineEnds(text)
	b = slices.Grow(b, len(": \n\n")+len(text)+ends*len(": \n")-bytes)
	b = appendLines(b, ": ", text)
	return append(b, '\n')
}

// AppendID appends a block to b that dispatches no event and only sets the
// client's last event ID, which an empty id resets, and returns the extended
// slice. If id contains CR, LF or NUL, AppendID returns b unchanged and a
// [*FieldError].
func AppendID(b []byte, id string) ([]byte, error) {
	if !validID(id) {
		return b, &FieldError{Field: "id", Value: id}
	}
	b = slices.Grow(b, len("id: \n\n")+len(id))
	b = append(b, "id: "...)
	b = append(b, id...)
	return append(b, "\n\n"...), nil
}

// AppendRetry appends a block to b that dispatches no event and only sets the
// client's reconnection time to d, in whole milliseconds, rounded up, and
// returns the extended slice. Zero is a time like any other: reconnect at once.
// A negative d appends nothing.
func AppendRetry(b []byte, d time.Duration) []byte {
	if d < 0 {
		return b
	}
	retry := appendRetryField(make([]byte, 0, maxRetryField+1), d)
	return append(b, append(retry, '\n')...)
}

// maxRetryField is the length of the longest retry field that a
// [time.Duration] can give.
const maxRetryField = len("retry: 9223372036855\n")

// appendRetryField appends the retry field for d, which is not negative.
func appendRetryField(b []byte, d time.Duration) []byte {
	ms := int64(d / time.Millisecond)
	if d%time.Millisecond > 0 {
		ms++ // after the division: d + 999µs could overflow
	}
	b = append(b, "retry: "...)
	b = strconv.AppendInt(b, ms, 10)
	return append(b, '\n')
}

// appendLines appends every line of s to b, each after prefix and ended by LF.
// There is always at least one.
func appendLines(b []byte, prefix, s string) []byte {
	// Without a CR in s each line costs one vectorised search. Looking for the
	// next CR and the next LF separately would scan the rest of s again for
	// every line, if one of them is rare.
	hasCR := strings.IndexByte(s, '\r') >= 0
	for {
		var i int
		if hasCR {
			i = strings.IndexAny(s, "\r\n")
		} else {
			i = strings.IndexByte(s, '\n')
		}
		b = append(b, prefix...)
		if i < 0 {
			b = append(b, s...)
			return append(b, '\n')
		}
		b = append(b, s[:i]...)
		b = append(b, '\n')
		if strings.HasPrefix(s[i:], "\r\n") {
			i++
		}
		s = s[i+1:]
	}
}

// lineEnds returns the number of line ends in s and of the bytes they take.
func lineEnds(s string) (ends, bytes int) {
	bytes = strings.Count(s, "\n")
	if cr := strings.Count(s, "\r"); cr > 0 {
		bytes += cr
		return bytes - strings.Count(s, "\r\n"), bytes
	}
	return bytes, bytes
}

func hasLineEnd(s string) bool {
	return strings.IndexByte(s, '\n') >= 0 || strings.IndexByte(s, '\r') >= 0
}

// validID reports whether id can be sent. A line end would end the field, and
// every client ignores an id field with a NUL.
func validID(id string) bool {
	return !hasLineEnd(id) && strings.IndexByte(id, 0) < 0
}

// A FieldError says that an event cannot be encoded because the value of a
// field would corrupt the stream or has no meaning in it. Nothing of the event
// was written.
type FieldError struct {
	Field string // name of the field: "id", "event" or "retry"
	Value string // its value, whole
}

// Error describes the field and quotes the beginning of its value.
func (e *FieldError) Error() string {
	const most = 64 // bytes quoted: a value that went wrong can be a whole document
	value, more := e.Value, ""
	if len(value) > most {
		value, more = value[:most], "…"
	}
	reason := "cannot be sent back in a header" // which only a broker asks for
	switch {
	case e.Field == "retry":
		reason = "is negative"
	case hasLineEnd(e.Value):
		reason = "has a line end"
	case strings.Contains(e.Value, "\x00"):
		reason = "has a NUL"
	}
	return "sse: " + e.Field + " field " + strconv.Quote(value) + more + " " + reason
}
