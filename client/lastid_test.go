package client

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestAnIDIsWholeAndNeverOlderThanOneBefore(t *testing.T) {
	const last = 5_000
	var l lastID
	assert.Empty(t, l.get())
	ids := make([]string, last+1) // id number n is n bytes long, all of them n
	for n := range ids {
		ids[n] = strings.Repeat(string(rune('a'+n%26)), n)
	}
	var given atomic.Int64
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for newest := 0; newest < last; {
				least := int(given.Load())
				id := l.get()
				if len(id) < max(newest, least) || id != ids[len(id)] {
					t.Errorf("got %d bytes %.8q, after %d and %d", len(id), id, newest, least)
					return
				}
				newest = len(id)
			}
		})
	}
	for n := range ids {
		l.set(ids[n])
		given.Store(int64(n))
	}
	readers.Wait()
	assert.Equal(t, ids[last], l.get())
}

func TestWhatSomebodyReadsIsNotOverwritten(t *testing.T) {
	var l lastID
	l.set("a")
	current := l.current.Load() // somebody may be about to read it
	l.set("b")
	assert.Equal(t, "a", *current)
	l.readers.Add(1) // as get does
	reading := l.current.Load()
	for _, id := range []string{"c", "d", "e"} {
		l.set(id)
		assert.Equal(t, id, l.get())
	}
	assert.Equal(t, "b", *reading)
	l.readers.Add(-1)
	allocs := testing.AllocsPerRun(10, func() { l.set("f") })
	assert.Zero(t, allocs, "without readers the places are used in turn")
}

func TestAGetIsAReaderOnlyForTheMoment(t *testing.T) {
	var l lastID
	l.get()
	l.set("a")
	l.get()
	assert.Zero(t, l.readers.Load())
}

func TestIDsOfOneLengthAreTheSameOnlyIfAllOfThemIs(t *testing.T) {
	for _, pair := range [][2]string{{"", ""}, {"a", "a"}, {"abc", "abc"}} {
		assert.True(t, sameID(pair[0], pair[1]), pair)
	}
	for _, pair := range [][2]string{{"", "a"}, {"a", ""}, {"a", "b"}, {"10", "20"}, {"ab", "b"}, {"12", "13"}} {
		assert.False(t, sameID(pair[0], pair[1]), pair)
	}
}
