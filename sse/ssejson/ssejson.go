// Package ssejson carries JSON values in the data of server-sent events.
//
// [Publish] encodes a value and publishes it; [Values] ranges over a stream
// and decodes:
//
//	id, err := ssejson.Publish(ctx, b, Price{"GO", 12.5}, "prices")
//
//	for price, err := range ssejson.Values[Price](c.Events(ctx)) {
//		if err != nil {
//			return err
//		}
//		fmt.Println(price.Symbol, price.Value)
//	}
//
// [Event] and [Value] are the two for one event: for one that needs a Type or
// an ID, and for a stream whose types carry different things.
package ssejson

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"

	"github.com/fanfare-go/fanfare/sse"
)

// ErrType is why an event is no value for [Values]: it is not of one of the
// types that were asked for.
var ErrType = errors.New("not of a type that was asked for")

// Event returns an event of the default type with v as JSON in its Data. Its
// other fields are the caller's to set. HTML's special characters are not
// escaped, for a stream is not HTML; a page must not insert what it decodes as
// such.
//
// The error is that of package json: v cannot be encoded.
func Event(v any) (sse.Event, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return sse.Event{}, fmt.Errorf("ssejson: %w", err)
	}
	return sse.Event{Data: string(bytes.TrimSuffix(b.Bytes(), []byte("\n")))}, nil
}

// Publisher publishes events, as a [github.com/fanfare-go/fanfare/broker.Broker]
// does.
type Publisher interface {
	Publish(ctx context.Context, ev sse.Event, topics ...string) (id string, err error)
}

// Publish publishes the [Event] of v on the topics, and returns what p's
// Publish returns. If v cannot be encoded, nothing is published.
func Publish(ctx context.Context, p Publisher, v any, topics ...string) (id string, err error) {
	ev, err := Event(v)
	if err != nil {
		return "", err
	}
	return p.Publish(ctx, ev, topics...)
}

// Value decodes the Data of ev, whatever its type. The error is an
// [*EventError], and the value then zero: Data is not JSON, or JSON that does
// not fit T.
func Value[T any](ev sse.Event) (T, error) {
	var v T
	if err := json.Unmarshal([]byte(ev.Data), &v); err != nil {
		var zero T // and not the half that was decoded
		return zero, &EventError{Event: ev, Err: err}
	}
	return v, nil
}

// Values decodes the events of a stream: those of [sse.Events], of
// [github.com/fanfare-go/fanfare/client.Client.Events] or of
// [github.com/fanfare-go/fanfare/broker.Subscription.Events]. It yields the
// value of each event of one of the types, in order; without any, of the
// default type, which may also be written out, as "message".
//
// Nothing is skipped: for an event that is no such value Values yields an
// [*EventError] with the event in it. That is one of another type, such as the
// gap event of a broker, which stands where values are missing, and one whose
// Data does not decode. A loop that returns on every error therefore ends where
// it would have to do without a value. One that knows better looks at the event
// and goes on: unlike any other error, an [*EventError] is not the last element.
//
// Ranging over Values ranges over events, and ends as that does.
func Values[T any](events iter.Seq2[sse.Event, error], types ...string) iter.Seq2[T, error] {
	if len(types) == 0 {
		types = []string{"", "message"}
	}
	types = slices.Clone(types)
	return func(yield func(T, error) bool) {
		for ev, err := range events {
			var v T
			switch {
			case err != nil:
			case !slices.Contains(types, ev.Type):
				err = &EventError{Event: ev, Err: ErrType}
			default:
				v, err = Value[T](ev)
			}
			if !yield(v, err) {
				return
			}
		}
	}
}

// EventError says that an event is no value of the type that was asked for. It
// concerns this event alone: see [Values].
type EventError struct {
	Event sse.Event // as it was received
	Err   error     // [ErrType], or that of package json
}

// Error says which event it is, and what is wrong with it.
func (e *EventError) Error() string {
	return fmt.Sprintf("ssejson: event of type %q with ID %q: %v", e.Event.Type, e.Event.ID, e.Err)
}

// Unwrap returns Err.
func (e *EventError) Unwrap() error { return e.Err }
