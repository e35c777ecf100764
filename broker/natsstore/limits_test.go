package natsstore_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/broker/natsstore"
	"github.com/fanfare-go/fanfare/sse"
)

// held returns the data of the events held.
func held(t *testing.T, s *natsstore.Store) (got []string) {
	t.Helper()
	for ev, err := range s.Range(t.Context(), broker.Query{}) {
		require.NoError(t, err)
		got = append(got, ev.Data)
	}
	return got
}

// add appends events with these data.
func add(t *testing.T, s *natsstore.Store, data ...string) (ids []string) {
	t.Helper()
	for _, d := range data {
		id, err := s.Append(t.Context(), sse.Event{Data: d}, []string{"a"})
		require.NoError(t, err)
		ids = append(ids, id)
	}
	return ids
}

func TestEventsGoWhenTheyAreOld(t *testing.T) {
	t.Parallel()
	e := startEngine(t)
	s := open(t, connect(t, e.url()), natsstore.Options{MaxAge: 1500 * time.Millisecond})
	ids := add(t, s, "1", "2")
	assert.Equal(t, []string{"1", "2"}, held(t, s))
	time.Sleep(2 * time.Second)
	ids = append(ids, add(t, s, "3")...)
	assert.Equal(t, []string{"3"}, held(t, s))

	// Nothing is missing after the newest that went.
	for _, err := range s.Range(t.Context(), broker.Query{After: ids[1]}) {
		require.NoError(t, err)
	}
	for _, err := range s.Range(t.Context(), broker.Query{After: ids[0]}) {
		require.ErrorIs(t, err, broker.ErrGap)
	}
}

func TestAnIDIsRememberedForItsTimeOnly(t *testing.T) {
	t.Parallel()
	e := startEngine(t)
	brief := open(t, connect(t, e.url()), natsstore.Options{Name: newName(), Duplicates: time.Second})
	never := open(t, connect(t, e.url()), natsstore.Options{Name: newName(), Duplicates: -1})
	again := func(s *natsstore.Store) error {
		_, err := s.Append(t.Context(), sse.Event{ID: "order-7"}, []string{"a"})
		return err
	}
	require.NoError(t, again(brief))
	require.ErrorIs(t, again(brief), broker.ErrDuplicate)
	time.Sleep(2 * time.Second)
	require.NoError(t, again(brief))
	require.NoError(t, again(never))
	require.NoError(t, again(never))
}

func TestWhatIsNoEventIsLeftOut(t *testing.T) {
	t.Parallel()
	e := startEngine(t)
	js, name := connect(t, e.url()), newName()
	s := open(t, js, natsstore.Options{Name: name})
	ids := add(t, s, "1")
	e.addForeign(name)
	add(t, s, "2")
	assert.Equal(t, []string{"1", "2"}, held(t, s))
	for m, err := range s.Follow(t.Context(), ids[0]) {
		require.NoError(t, err)
		assert.Equal(t, "2", m.Event.Data)
		break
	}
}

func TestAnEventDeletedByHandIsAGapForACursorAndThenJustNotThere(t *testing.T) {
	t.Parallel()
	e := startEngine(t)
	js, name := connect(t, e.url()), newName()
	s := open(t, js, natsstore.Options{Name: name})
	ids := add(t, s, "1", "2", "3", "4")
	e.remove(name, ids[1])
	e.remove(name, ids[3])
	assert.Equal(t, []string{"1", "3"}, held(t, s))
	var got []string
	for ev, err := range s.Range(t.Context(), broker.Query{After: ids[0]}) {
		require.ErrorIs(t, err, broker.ErrGap, "%v", ev)
	}
	add(t, s, "5")
	for m, err := range s.Follow(t.Context(), "") {
		require.NoError(t, err)
		if got = append(got, m.Event.Data); len(got) == 3 {
			break
		}
	}
	assert.Equal(t, []string{"1", "3", "5"}, got)
}
