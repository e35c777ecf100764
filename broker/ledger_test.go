package broker_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/broker/storetest"
	"github.com/fanfare-go/fanfare/sse"
)

var ledgers = flag.Uint64("ledgers", 1000, "how many worlds TestEverySubscriptionYieldsWhatItsLedgerSays goes through")

// A ledger says what one subscription has to yield: all that was published on its
// topics, in order and once, or a Gap in the place of what is missing.
type ledger struct {
	sub    *broker.Subscription
	policy broker.SlowPolicy
	evicts bool // the Store does, so that there may be a Gap under any policy

	topics []string
	owed   []debt
	newest map[string]int // under Conflate: of keys that were left out, what is still to come
	gap    bool           // was told, and no event since
	ended  bool
}

// A debt is an event that is owed.
type debt struct {
	n      int
	topics []string // those that have not been removed since; without any it may be what a Gap is about
	key    string
}

func (d debt) isGhost() bool { return len(d.topics) == 0 }

// owe notes that an event was published on topics.
func (l *ledger) owe(n int, key string, topics []string) {
	topics = slices.DeleteFunc(slices.Clone(topics), func(t string) bool { return !slices.Contains(l.topics, t) })
	if len(topics) > 0 && !l.ended {
		l.owed = append(l.owed, debt{n, topics, key})
	}
}

// change adds topic, or removes it.
func (l *ledger) change(t *testing.T, topic string, add bool) {
	switch {
	case l.ended:
	case !add:
		l.topics = without(l.topics, topic)
		for i := range l.owed {
			l.owed[i].topics = without(l.owed[i].topics, topic)
		}
		for key := range l.newest {
			if strings.HasPrefix(key, topic+"/") {
				delete(l.newest, key)
			}
		}
		l.sub.Remove(topic)
	case !slices.Contains(l.topics, topic):
		l.topics = append(slices.Clone(l.topics), topic)
		require.NoError(t, l.sub.Add(topic))
	}
}

func without(topics []string, topic string) []string {
	return slices.DeleteFunc(slices.Clone(topics), func(t string) bool { return t == topic })
}

// take compares what was yielded with what is owed.
func (l *ledger) take(ev sse.Event) error {
	if ev.Type == "gap" {
		drops := l.policy == broker.DropOldest || l.policy == broker.DropNewest
		switch {
		case !drops && !l.evicts:
			return fmt.Errorf("a gap where nothing can be missing")
		case l.gap && !l.evicts && !slices.ContainsFunc(l.owed, debt.isGhost):
			return fmt.Errorf("two gaps")
		}
		l.gap = true
		clear(l.newest)
		return nil
	}
	n, err := strconv.Atoi(strings.TrimSpace(ev.Data))
	if err != nil {
		return err
	}
	at := slices.IndexFunc(l.owed, func(d debt) bool { return d.n == n })
	if at < 0 || l.owed[at].isGhost() {
		return fmt.Errorf("%d is not owed, but %v", n, l.owed)
	}
	missing, ghosts := 0, 0
	for _, d := range l.owed[:at] {
		switch {
		case d.isGhost():
			ghosts++
		case l.policy != broker.Conflate || d.key == "":
			missing++
		case !l.gap: // with a gap it may have been evicted
			l.newest[d.key] = d.n
		}
	}
	switch {
	case missing > 0 && !l.gap:
		return fmt.Errorf("before %d, something of %v is missing without a gap", n, l.owed[:at])
	case missing == 0 && l.gap && ghosts == 0 && !l.evicts:
		return fmt.Errorf("a gap before %d, but nothing is missing", n)
	}
	delete(l.newest, l.owed[at].key)
	l.owed, l.gap = l.owed[at+1:], false
	return nil
}

// settle compares what is left once nothing more comes.
func (l *ledger) settle() error {
	rest := slices.DeleteFunc(slices.Clone(l.owed), debt.isGhost)
	switch {
	case len(rest) > 0 && (!l.gap || l.policy == broker.Conflate && !l.evicts):
		return fmt.Errorf("at the end %v are missing", rest)
	case len(l.owed) == 0 && l.gap && !l.evicts:
		return fmt.Errorf("a gap at the end, but nothing is missing")
	case len(l.newest) > 0:
		return fmt.Errorf("the newest of %v is missing", l.newest)
	}
	return nil
}

// A world is a Broker with random options, and the ledgers of its subscriptions.
type world struct {
	t       *testing.T
	rand    *rand.Rand
	broker  *broker.Broker
	opts    broker.Options
	follows bool
	ledgers []*ledger
	last    int
}

var worldTopics = []string{"a", "b", "c", "d", "e"}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{t: t, rand: rand.New(rand.NewPCG(seed, 0))}
	o := &w.opts
	o.Slow = broker.SlowPolicy(seed % 5)
	o.QueueSize = 1 + w.rand.IntN(6)
	if w.chance(3) {
		o.QueueBytes = 60 + w.rand.IntN(200)
	}
	if w.chance(2) {
		o.FlushInterval = time.Duration(1+w.rand.IntN(20)) * time.Millisecond
	}
	o.Key = func(ev sse.Event, topics []string) string {
		if ev.Retry == 0 {
			return ""
		}
		return topics[0] + "/" + ev.Retry.String()
	}
	evicts := false
	switch w.rand.IntN(4) {
	case 0:
		w.follows, o.Store = true, storetest.NewLog().View()
	case 1:
		evicts, o.Store = true, broker.NewMemoryStore(&broker.MemoryOptions{MaxEvents: 1 + w.rand.IntN(10)})
	}
	if w.chance(2) {
		w.broker = newShard(t, o)
	} else {
		w.broker = newBroker(t, o)
	}
	for range 2 + w.rand.IntN(3) {
		w.subscribe(evicts)
	}
	synctest.Wait()
	return w
}

func (w *world) chance(n int) bool { return w.rand.IntN(n) == 0 }

func (w *world) subscribe(evicts bool) {
	topics := []string{"a", "b"} // which several have in common
	if w.chance(2) {
		topics = w.some(3)
	}
	w.ledgers = append(w.ledgers, &ledger{
		sub: subscribe(w.t, w.broker, topics...), policy: w.opts.Slow, evicts: evicts,
		topics: topics, newest: make(map[string]int),
	})
}

// some returns from 1 to n topics.
func (w *world) some(n int) (topics []string) {
	for _, i := range w.rand.Perm(len(worldTopics))[:1+w.rand.IntN(n)] {
		topics = append(topics, worldTopics[i])
	}
	return topics
}

func (w *world) anyone() *ledger { return w.ledgers[w.rand.IntN(len(w.ledgers))] }

// step lets something happen.
func (w *world) step() {
	switch w.rand.IntN(8) {
	case 0, 1:
		w.anyone().change(w.t, worldTopics[w.rand.IntN(len(worldTopics))], w.chance(2))
	case 2:
		time.Sleep(time.Duration(w.rand.IntN(15)) * time.Millisecond)
	case 3:
		synctest.Wait()
	default:
		for range 1 + w.rand.IntN(5) {
			w.publish()
		}
	}
}

func (w *world) publish() {
	w.last++
	ev, topics, key := sse.Event{Data: strconv.Itoa(w.last) + strings.Repeat(" ", w.rand.IntN(40))}, w.some(2), ""
	if w.opts.Slow == broker.Conflate {
		topics = topics[:1] // keys are not kept apart
		ev.Retry = time.Duration(w.rand.IntN(4)) * time.Second
		key = w.opts.Key(ev, topics)
	}
	_, err := w.broker.Publish(w.t.Context(), ev, topics...)
	require.NoError(w.t, err)
	if w.follows {
		synctest.Wait() // what is added now is not about this one
	}
	for _, l := range w.ledgers {
		l.owe(w.last, key, topics)
	}
}

// read ranges over what l has, until ctx ends, or up to n events while more goes on.
func (w *world) read(ctx context.Context, l *ledger, n int) error {
	for ev, err := range l.sub.Events(ctx) {
		switch {
		case err == nil:
		case err == broker.ErrSlow && w.opts.Slow == broker.Disconnect:
			l.ended = true
			return nil
		case ctx.Err() != nil && err == context.Cause(ctx):
			return nil
		default:
			return err
		}
		if err := l.take(ev); err != nil {
			return err
		}
		if n > 0 && w.chance(3) {
			w.step()
		}
		if n--; n == 0 {
			return nil
		}
	}
	return nil
}

func TestEverySubscriptionYieldsWhatItsLedgerSays(t *testing.T) {
	for seed := range *ledgers {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, seed)
			for range 50 {
				w.step()
				if l := w.anyone(); !l.ended && w.chance(2) {
					ctx, cancel := context.WithTimeout(t.Context(), time.Duration(1+w.rand.IntN(30))*time.Millisecond)
					require.NoError(t, w.read(ctx, l, 1+w.rand.IntN(8)), "seed %d", seed)
					cancel()
				}
				if w.chance(20) {
					w.subscribe(w.ledgers[0].evicts)
				}
			}
			time.Sleep(time.Second)
			for _, l := range w.ledgers {
				if l.ended {
					continue
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				assert.NoError(t, w.read(ctx, l, 0), "seed %d", seed)
				cancel()
				if !l.ended {
					assert.NoError(t, l.settle(), "seed %d", seed)
				}
			}
		})
		if t.Failed() {
			return
		}
	}
}
