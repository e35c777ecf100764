package storetest

import (
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/sse"
)

// A Log is a [broker.Follower] in memory, for tests: it stands for an engine
// that several processes share, and brokers of one process for theirs. It can
// be away, can evict, and can lose what is newest. Each [View] of it is a Follower
// as well, which can lag behind or be cut off on its own.
//
// Its IDs are its own, whatever the publisher gave: a few random letters, a
// dash, and a number without leading zeros, so that they do not sort as strings
// do. A publisher's ID is remembered while its event is held.
//
// Its methods may be called concurrently. It has no goroutine and waits on
// channels only, so it works in a bubble of testing/synctest.
type Log struct {
	prefix string // of every ID, before the number
	own    *View  // which the methods of Follower go through

	mu      sync.Mutex // guards what follows and the fields of the Views; never held while waiting or yielding
	held    []stored
	first   int            // number of the oldest event held; they count from 1
	given   map[string]int // number of the held event to which a publisher gave this ID
	limit   int            // on len(held); 0: none
	err     error          // what every call fails with, if not nil
	changed chan struct{}  // closed and replaced by changeLocked whenever any of these changes
}

// stored is an event that is held.
type stored struct {
	broker.Message
	given string // its publisher's ID
}

// NewLog returns an empty Log.
func NewLog() *Log {
	l := &Log{
		prefix:  fmt.Sprintf("%06x-", rand.IntN(1<<24)),
		first:   1,
		given:   make(map[string]int),
		changed: make(chan struct{}),
	}
	l.own = l.View()
	return l
}

// View returns a Follower that shares the history of l.
func (l *Log) View() *View { return &View{log: l} }

// SetErr makes every call fail with err, those that are under way included,
// until it is called again with nil: the engine is away.
func (l *Log) SetErr(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.err = err
	l.changeLocked()
}

// Trim evicts the oldest n events, or all if fewer are held.
func (l *Log) Trim(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.trimLocked(min(n, len(l.held)))
	l.changeLocked()
}

// Limit makes l hold only the newest n events from now on. 0: no limit.
func (l *Log) Limit(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.limit = n
	if n > 0 {
		l.trimLocked(max(len(l.held)-n, 0))
	}
	l.changeLocked()
}

// SetBack loses the newest n events, or all if fewer are held: the engine has come
// back from a crash, or from a backup. Their IDs are given again.
func (l *Log) SetBack(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	kept := len(l.held) - min(n, len(l.held))
	for _, s := range l.held[kept:] {
		if s.given != "" {
			delete(l.given, s.given)
		}
	}
	l.held = slices.Delete(l.held, kept, len(l.held))
	l.changeLocked()
}

// Append stores ev: see [broker.Store].
func (l *Log) Append(ctx context.Context, ev sse.Event, topics []string) (string, error) {
	return l.own.Append(ctx, ev, topics)
}

// Last returns the newest ID: see [broker.Store].
func (l *Log) Last(ctx context.Context) (string, error) { return l.own.Last(ctx) }

// Range yields the events that q asks for: see [broker.Store].
func (l *Log) Range(ctx context.Context, q broker.Query) iter.Seq2[sse.Event, error] {
	return l.own.Range(ctx, q)
}

// Follow yields each event after the ID after: see [broker.Follower].
func (l *Log) Follow(ctx context.Context, after string) iter.Seq2[broker.Message, error] {
	return l.own.Follow(ctx, after)
}

// Compare orders two IDs: see [broker.Follower].
func (l *Log) Compare(a, b string) int { return l.number(a) - l.number(b) }

func (l *Log) changeLocked() {
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *Log) trimLocked(n int) {
	for i, s := range l.held[:n] {
		if s.given != "" {
			delete(l.given, s.given)
		}
		l.held[i] = stored{}
	}
	l.held = l.held[n:]
	l.first += n
}

// newestLocked returns the number of the newest event, also once it is evicted.
func (l *Log) newestLocked() int { return l.first + len(l.held) - 1 }

func (l *Log) id(number int) string { return l.prefix + strconv.Itoa(number) }

// number returns the number in an ID of l, and -1 for any other string.
func (l *Log) number(id string) int {
	digits, ok := strings.CutPrefix(id, l.prefix)
	n, err := strconv.Atoi(digits)
	if !ok || err != nil || n < 0 || id != l.id(n) {
		return -1
	}
	return n
}

func (l *Log) appendLocked(ev sse.Event, topics []string) (string, error) {
	if n, ok := l.given[ev.ID]; ok {
		return l.id(n), broker.ErrDuplicate
	}
	n, given := l.newestLocked()+1, ev.ID
	if given != "" {
		l.given[given] = n
	}
	ev.ID = l.id(n)
	l.held = append(l.held, stored{broker.Message{Event: ev, Topics: slices.Clone(topics)}, given})
	if l.limit > 0 {
		l.trimLocked(max(len(l.held)-l.limit, 0))
	}
	l.changeLocked()
	return ev.ID, nil
}
