package ssejson_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/sse"
	"github.com/fanfare-go/fanfare/sse/ssejson"
	"github.com/fanfare-go/fanfare/sse/ssetest"
)

func TestMain(m *testing.M) { ssetest.Main(m) }

type price struct {
	Symbol string
	Value  float64
}

func TestAnEventIsOneLineOfJSONThatIsNotEscapedForHTML(t *testing.T) {
	for want, v := range map[string]any{
		`{"Symbol":"GO","Value":12.5}`: price{"GO", 12.5},
		`"<a href=\"?x&y\">\r\n</a>"`:  "<a href=\"?x&y\">\r\n</a>",
		`null`:                         nil,
		`[1,2]`:                        json.RawMessage("[1,\r\n2]"),
	} {
		ev, err := ssejson.Event(v)
		assert.NoError(t, err)
		assert.Equal(t, sse.Event{Data: want}, ev)
	}
}

func TestWhatIsNoJSONIsNoEventAndIsNotPublished(t *testing.T) {
	for _, v := range []any{math.Inf(1), make(chan int), json.RawMessage("{")} {
		ev, err := ssejson.Event(v)
		assert.Equal(t, sse.Event{}, ev)
		assert.ErrorContains(t, err, "ssejson: json: ")

		id, err := ssejson.Publish(t.Context(), nobody{}, v)
		assert.Empty(t, id)
		assert.ErrorContains(t, err, "ssejson: json: ")
	}
	_, err := ssejson.Event(make(chan int))
	var unsupported *json.UnsupportedTypeError
	assert.ErrorAs(t, err, &unsupported)
}

// nobody must not be asked to publish.
type nobody struct{}

func (nobody) Publish(context.Context, sse.Event, ...string) (string, error) { panic("published") }

func TestPublishReturnsWhatThePublisherReturns(t *testing.T) {
	b := broker.New(&broker.Options{Backlog: -1})
	defer b.Close()
	id, err := ssejson.Publish(t.Context(), b, price{"GO", 12.5}, "prices", "all")
	require.NoError(t, err)
	for _, topic := range []string{"prices", "all"} {
		sub, err := b.Subscribe(topic)
		require.NoError(t, err)
		for ev, err := range sub.Events(t.Context()) {
			assert.NoError(t, err)
			assert.Equal(t, sse.Event{ID: id, Data: `{"Symbol":"GO","Value":12.5}`}, ev)
			break
		}
	}
	b.Close()
	_, err = ssejson.Publish(t.Context(), b, price{})
	assert.Equal(t, broker.ErrClosed, err)
}

func TestValuesComeInOrderAndEndSilentlyWithTheEvents(t *testing.T) {
	got := collect(ssejson.Values[price](sse.Events(strings.NewReader(
		"data: {\"Symbol\":\"GO\",\ndata: \"Value\":1}\n\n" + ": comment\n\n" + "event: message\ndata: {\"Symbol\":\"C\"}\n\n" + "data: null\n\n"))))
	assert.Equal(t, []element[price]{{price{"GO", 1}, nil}, {price{"C", 0}, nil}, {price{}, nil}}, got)
}

func TestAnErrorOfTheEventsIsPassedOnAsItIs(t *testing.T) {
	got := collect(ssejson.Values[int](sse.Events(strings.NewReader("data: 1\n\ndata: 2"))))
	assert.Equal(t, []element[int]{{1, nil}, {0, io.ErrUnexpectedEOF}}, got)
}

func TestAnEventThatIsNoValueIsAnErrorAfterWhichTheStreamGoesOn(t *testing.T) {
	got := collect(ssejson.Values[map[string]int](streamOf(
		sse.Event{Data: `{"n":1}`},
		sse.Event{ID: "7", Data: `{"n":2,"m":"`},
		sse.Event{Data: `{"a":1,"n":"two"}`},
		sse.Event{Data: ``},
		sse.Event{ID: "9", Type: "gap", Data: `{"n":3}`},
		sse.Event{Data: `{"n":4}`},
	)))
	require.Len(t, got, 6)
	assert.Equal(t, element[map[string]int]{map[string]int{"n": 1}, nil}, got[0])
	for i, e := range got[1:5] {
		assert.Nil(t, e.value, i)
		var about *ssejson.EventError
		require.ErrorAs(t, e.err, &about, i)
	}
	assert.Equal(t, &ssejson.EventError{Event: sse.Event{ID: "9", Type: "gap", Data: `{"n":3}`}, Err: ssejson.ErrType}, got[4].err)
	assert.ErrorIs(t, got[4].err, ssejson.ErrType)
	assert.EqualError(t, got[1].err, `ssejson: event of type "" with ID "7": unexpected end of JSON input`)
	var mismatch *json.UnmarshalTypeError
	assert.ErrorAs(t, got[2].err, &mismatch)
	assert.Equal(t, element[map[string]int]{map[string]int{"n": 4}, nil}, got[5], "nothing of the events before it")
}

func TestValuesAreInTheTypesThatAreNamedAndNoOthers(t *testing.T) {
	events := streamOf(
		sse.Event{Type: "add", Data: "1"},
		sse.Event{Type: "sub", Data: "2"},
		sse.Event{Data: "3"},
	)
	types := []string{"add", "sub"}
	values := ssejson.Values[int](events, types...)
	types[0] = "changed"
	for range 2 { // ranging again ranges over the events again
		got := collect(values)
		assert.Equal(t, []element[int]{
			{1, nil},
			{2, nil},
			{0, &ssejson.EventError{Event: sse.Event{Data: "3"}, Err: ssejson.ErrType}},
		}, got)
	}
}

func TestLeavingTheLoopLeavesTheRestOfTheStream(t *testing.T) {
	d := sse.NewDecoder(strings.NewReader("data: 1\n\ndata: 2\n\n"))
	for v, err := range ssejson.Values[int](d.Events()) {
		assert.NoError(t, err)
		assert.Equal(t, 1, v)
		break
	}
	ev, err := d.Decode()
	assert.NoError(t, err)
	assert.Equal(t, sse.Event{Data: "2"}, ev)
}

func TestValueDecodesAnyTypeOfEvent(t *testing.T) {
	v, err := ssejson.Value[price](sse.Event{Type: "price", Data: `{"Symbol":"GO"}`})
	assert.NoError(t, err)
	assert.Equal(t, price{Symbol: "GO"}, v)
	v, err = ssejson.Value[price](sse.Event{Type: "price", Data: `{"Symbol":"GO"} trailing`})
	assert.Equal(t, price{}, v)
	var about *ssejson.EventError
	assert.True(t, errors.As(err, &about))
}

// What is encoded is what is decoded, whatever is in it: that is the law.
func FuzzWhatIsPublishedIsWhatArrives(f *testing.F) {
	f.Add("GO", 12.5)
	f.Add("\r\n\r\ndata: <\u2028>\x00", math.Copysign(0, -1))
	f.Fuzz(func(t *testing.T, symbol string, value float64) {
		want := price{strings.ToValidUTF8(symbol, "\ufffd"), value}
		ev, err := ssejson.Event(want)
		if math.IsNaN(value) || math.IsInf(value, 0) {
			require.Error(t, err)
			return
		}
		require.NoError(t, err)
		require.NotContains(t, ev.Data, "\n")
		require.NotContains(t, ev.Data, "\r")
		stream, err := ev.AppendTo(nil)
		require.NoError(t, err)
		got := collect(ssejson.Values[price](sse.Events(strings.NewReader(string(stream)))))
		require.Equal(t, []element[price]{{want, nil}}, got)
	})
}

type element[T any] struct {
	value T
	err   error
}

func collect[T any](values iter.Seq2[T, error]) (all []element[T]) {
	for v, err := range values {
		all = append(all, element[T]{v, err})
	}
	return all
}

// streamOf is a stream of these events.
func streamOf(events ...sse.Event) iter.Seq2[sse.Event, error] {
	return func(yield func(sse.Event, error) bool) {
		slices.Values(events)(func(ev sse.Event) bool { return yield(ev, nil) })
	}
}
