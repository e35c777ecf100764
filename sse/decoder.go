package sse

import (
	"errors"
	"io"
	"iter"
	"math"
	"time"
)

// DefaultMaxEventSize is the size in bytes of the largest event that a
// [Decoder] accepts unless [Decoder.SetMaxEventSize] says otherwise.
const DefaultMaxEventSize = 16 << 20

// ErrTooLong is the error of a [Decoder] whose stream contains an event, or a
// line, that exceeds the limit set by [Decoder.SetMaxEventSize].
var ErrTooLong = errors.New("sse: event too long")

// A Decoder reads events from a stream, as WHATWG HTML 9.2.6 (Interpreting an
// event stream) says, exactly: it accepts every sequence of bytes and skips what
// has no meaning. It delivers an event as soon as the end of its blank line has
// been read, and reads no further as long as a complete event is in its buffer.
//
// The memory of a Decoder is bounded by a small multiple of the largest event
// that it accepts; what a large event made it take, it gives back with the next
// read.
//
// A Decoder is not safe for concurrent use. Use [NewDecoder] to make one.
type Decoder struct {
	lines     lineReader
	block     block
	slab      []byte // memory that strings share
	used      int    // bytes in front of it that do not change any more
	lastID    string // the standard's last event ID string
	lastType  string // of the last event that had one: streams repeat their types
	retry     time.Duration
	hasRetry  bool
	limit     int // of an event, in bytes
	onComment func(string)
	err       error // final; nil as long as the stream goes on
}

// NewDecoder returns a Decoder that reads from r. It has a buffer of its own
// and may read more from r than the events it returns need.
func NewDecoder(r io.Reader) *Decoder {
	d := new(Decoder)
	d.SetMaxEventSize(DefaultMaxEventSize)
	d.Reset(r, "")
	return d
}

// Reset makes d read a new stream from r, with lastEventID as its last event
// ID: the connection that resumes a stream goes on with the ID of the one
// before, as browsers do. The reconnection time, the size limit and the
// function for comments stay. Reset forgets the error and all that is left of
// the old stream.
func (d *Decoder) Reset(r io.Reader, lastEventID string) {
	d.lines.reset(r)
	d.block.clear()
	d.lastID = lastEventID
	d.err = nil
}

// SetMaxEventSize sets the size limit to n bytes. The size of an event is that
// of its Data, its Type, and its ID if its own block sets one; an event of
// exactly n bytes is accepted. No line may be longer than the field of such an
// event either, so that an endless line is an error even if it is a comment.
// What exceeds the limit ends the stream with [ErrTooLong].
//
// Zero stands for [DefaultMaxEventSize], a negative n for no limit. The new
// limit holds for what is read from now on.
func (d *Decoder) SetMaxEventSize(n int) {
	const longestName = len("retry: ")
	switch {
	case n == 0:
		n = DefaultMaxEventSize
	case n < 0 || n > math.MaxInt-longestName-1:
		n = math.MaxInt - longestName - 1
	}
	d.limit = n
	d.lines.limit = n + longestName
}

// OnComment makes d call f with the text of each comment line: what follows
// the colon, less one space at its beginning. f is called as the line is read,
// within [Decoder.Decode] and before the event around it is complete; it must
// not use d. nil, the default, skips comments.
func (d *Decoder) OnComment(f func(text string)) { d.onComment = f }

// LastEventID returns the last event ID of the stream: what a client that
// reconnects sends as Last-Event-ID. It changes with each block that has an id
// field, also if the block has no data and so is no event, as soon as the block
// is complete. "" means that there is none.
func (d *Decoder) LastEventID() string { return d.lastID }

// Retry returns the reconnection time that the stream set last, or 0 if it set
// none. It changes as soon as the line of a valid retry field is read. A time
// that a [time.Duration] cannot hold becomes the longest that it can.
func (d *Decoder) Retry() time.Duration { return d.retry }

// LastRetry is [Decoder.Retry] with one distinction more: ok tells a stream
// that set 0, to reconnect at once, from one that set nothing.
func (d *Decoder) LastRetry() (retry time.Duration, ok bool) { return d.retry, d.hasRetry }

// Decode reads the next event. It blocks until one is complete or the stream
// ends. An event is always returned without an error and an error without an
// event.
//
// The strings of an event are the caller's to keep. Those of at most 64 bytes share
// memory with others that arrived with them: one that is kept keeps 512 bytes from
// being freed, unless it is cloned with [strings.Clone]. While a stream brings 4 KiB
// and more at a time, those of at most 512 bytes do, and one keeps 4 KiB; so may one
// that comes soon after that.
//
// The error is [io.EOF] if the stream has ended after a complete block or in a
// comment, [io.ErrUnexpectedEOF] if it has ended inside a block, which is
// discarded, [ErrTooLong], [io.ErrNoProgress] if the reader keeps returning
// nothing, and otherwise what the reader returned. Every error is final: until
// a Reset, Decode returns it again.
func (d *Decoder) Decode() (ev Event, err error) {
	ev.ID, ev.Type, ev.Data, ev.Retry, err = d.next()
	return ev, err
}

// next is Decode with the fields of the event one by one. That way they stay in
// registers. An Event that is filled through a pointer costs a tenth of the time
// of a small event, and more while the garbage collector runs, which has to be
// told of every pointer that is written.
func (d *Decoder) next() (id, typ, data string, retry time.Duration, err error) {
	for d.err == nil {
		if typ, data, retry, ok := d.scan(); ok {
			return d.lastID, typ, data, retry, nil
		}
		if d.err == nil {
			d.err = d.more()
		}
	}
	return "", "", "", 0, d.err
}

// Events returns an iterator over the events that are left in the stream. It
// ends at [io.EOF]; any other error of [Decoder.Decode] is its last element,
// with a zero Event. A loop that is left early can be continued by another, or
// by Decode.
func (d *Decoder) Events() iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for {
			id, typ, data, retry, err := d.next()
			if err == io.EOF || !yield(Event{id, typ, data, retry}, err) || err != nil {
				return
			}
		}
	}
}

// Events returns an iterator over the events of the stream r, as
// [Decoder.Events] does. The stream can be ranged over once.
func Events(r io.Reader) iter.Seq2[Event, error] {
	return NewDecoder(r).Events()
}

// more waits for more of the stream. At its end it returns the error that
// Decode is to return.
func (d *Decoder) more() error {
	d.block.keep(d.lines.buf)
	err := d.lines.fill()
	if err != io.EOF {
		return err
	}
	// Spec: "Once the end of the file is reached, any pending data must be
	// discarded." A comment is no pending data.
	if rest := d.lines.rest(); d.block.has != 0 || len(rest) > 0 && rest[0] != ':' {
		return io.ErrUnexpectedEOF
	}
	return io.EOF
}
