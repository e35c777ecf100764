package broker

import (
	"bufio"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/sse"
)

// errands goes on errands of so many writes, which take 5 µs each, for a second, and
// waits after each. It returns how long the errands took, without what was yielded,
// and how often and for how long that was.
func (y *yielder) errands(writes int, wait, took time.Duration) (worked time.Duration, yields int, yielded time.Duration) {
	born := time.Now()
	for time.Since(born) < time.Second {
		y.begin(time.Since(born))
		for range writes {
			time.Sleep(5 * time.Microsecond)
			worked += 5 * time.Microsecond
			y.wrote(born, func() {
				yields++
				yielded += took
				time.Sleep(took)
			})
		}
		y.end(time.Since(born))
		time.Sleep(wait)
	}
	return worked, yields, yielded
}

func TestWhoHasTimeYieldsTheCoreOnceInAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		worked, yields, _ := new(yielder).errands(320, 8*time.Millisecond, 200*time.Microsecond)
		assert.InDelta(t, worked/(5*yieldAfter*time.Microsecond), yields, 11, "all but in the first errand")
	})
}

func TestWhoIsBusyKeepsTheCore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, yields, _ := new(yielder).errands(320, 2*time.Millisecond, 200*time.Microsecond)
		assert.Zero(t, yields)
	})
}

func TestTheCoreIsNotYieldedToWhoKeepsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		worked, yields, yielded := new(yielder).errands(320, 8*time.Millisecond, 4*time.Millisecond)
		assert.Greater(t, yields, 4, "it tries again")
		assert.LessOrEqual(t, yielded, time.Second/yieldDebt+10*time.Millisecond)
		assert.Greater(t, worked, 150*time.Millisecond)
	})
}

func TestAShardTellsTheYielderWhatItWritesAndWhenItRests(t *testing.T) {
	if !canWriteSocket {
		t.Skip("detached subscribers are written to by shards on Unix only")
	}
	b := New(&Options{Detach: true})
	defer b.Close()
	server := httptest.NewServer(b)
	defer server.Close()
	res, err := http.Get(server.URL)
	require.NoError(t, err)
	defer res.Body.Close()

	events := 0
	for lines := bufio.NewScanner(res.Body); events < yieldAfter/2 && lines.Scan(); {
		switch line := lines.Text(); {
		case line == "": // the headers, or the event before
			_, err = b.Publish(t.Context(), sse.Event{Data: "x"})
			require.NoError(t, err)
		case strings.HasPrefix(line, "data: "):
			events++
		}
	}
	b.Close()
	var y yielder
	for _, s := range b.shards {
		<-s.done
		if s.writes {
			y = s.yields
		}
	}
	assert.Positive(t, y.writes)
	assert.Positive(t, y.busy)
	assert.Positive(t, y.idle)
}
