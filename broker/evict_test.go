package broker_test

import (
	"net/http"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/sse"
	"github.com/fanfare-go/fanfare/sse/ssetest"
)

// A Store that holds little makes holes for all who are slow or away for long.
// An application that has a Snapshot for them changes its state before it
// publishes the change.
func TestWhatIsEvictedUnderSlowClientsIsAGapOrAState(t *testing.T) {
	for _, protocol := range []ssetest.Protocol{ssetest.HTTP1, ssetest.H2C} {
		for name, withState := range map[string]bool{"Gap": false, "Snapshot": true} {
			t.Run(protocol.String()+"/"+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var state atomic.Int64 // the number of the newest change
					opts := trialOptions(broker.CatchUp)
					opts.Store = broker.NewMemoryStore(&broker.MemoryOptions{MaxEvents: 64})
					if withState {
						opts.Snapshot = func(*http.Request, []string) ([]sse.Event, error) {
							return []sse.Event{{Type: "state", Data: strconv.FormatInt(state.Load(), 10)}}, nil
						}
					}
					b := newBroker(t, opts)
					tr := newTrial(t, trialFaults(t, 0, maxBytes(protocol), 50*time.Millisecond))
					srv, base := tr.serve(b, protocol)
					for range 8 {
						tr.read(base, srv.NewTransport(), len(tr.topics))
					}
					publish := func(ev sse.Event, topics []string) string {
						state.Add(1)
						id, err := b.Publish(t.Context(), ev, topics...)
						assert.NoError(t, err)
						return id
					}
					tr.settle()
					for i := range 5_000 {
						tr.publishOne(published{data: strconv.Itoa(i), topics: tr.some(3)}, publish)
						if tr.rand.IntN(50) == 0 {
							time.Sleep(time.Duration(tr.rand.Int64N(int64(tr.pause))))
						}
					}
					tr.end(publish)
					holes, states := tr.requireTold(withState)
					t.Log(tr.faults, holes, "holes,", states, "states")
					assert.Positive(t, holes)
					assert.Equal(t, withState, states > 0)
				})
			})
		}
	}
}

// requireTold fails the test unless a Gap stands wherever events are missing,
// and, if there is to be a state, that behind it, and then all that has changed
// since. A Gap without a hole is allowed: what was evicted is not known to have
// been of other topics.
func (tr *trial) requireTold(withState bool) (holes, states int) {
	for n, r := range tr.readers {
		want := tr.wanted(r.topics)
		const nothing, gap, state = 0, 1, 2
		told, connection := nothing, 0
		check := func(hole int, place any) {
			if hole > 0 {
				holes++
			}
			if hole > 0 && (told != gap || withState) {
				tr.t.Fatalf("client %d: a hole of %d events before %v", n, hole, place)
			}
		}
		for i, got := range r.got {
			for connection < got.connection {
				connection++
				if cursor := r.cursors[connection]; cursor != "" {
					check(skip(&want, number(cursor)), cursor)
				}
				told = nothing
			}
			switch got.kind {
			case "gap":
				told = gap
			case "state":
				through, err := strconv.Atoi(got.data)
				require.NoError(tr.t, err)
				if hole := skip(&want, through); hole > 0 {
					holes++
				}
				told = state
				states++
			default:
				if told == gap && withState {
					tr.t.Fatalf("client %d: arrival %d, %+v, behind a Gap without a state", n, i, got)
				}
				if withState && (len(want) == 0 || number(got.id) < number(want[0].id)) {
					continue // in the state already
				}
				check(skip(&want, number(got.id)-1), got)
				if len(want) == 0 || want[0].id != got.id || want[0].data != got.data {
					tr.t.Fatalf("client %d: arrival %d is %+v, after cursor %q", n, i, got, r.cursors[got.connection])
				}
				want, told = want[1:], nothing
			}
		}
		require.NoErrorf(tr.t, r.err, "client %d", n)
		require.Truef(tr.t, isEnd(want), "client %d: the end is missing", n)
	}
	return holes, states
}
