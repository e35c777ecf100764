package broker

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/fanfare-go/fanfare/sse"
)

// What an event counts for under [MemoryOptions].MaxBytes beside its strings:
// its slot in a ring that is up to twice as large as it need be, its entry in
// the index of IDs, and the headers and rounding of its allocations.
const (
	eventOverhead = 256
	topicOverhead = 16
)

const minRing = 16 // slots

// MemoryOptions bounds the history of a [MemoryStore]. All bounds hold at once,
// and the oldest events go first. An event that is larger than MaxBytes by
// itself is not held at all, and nothing before it is.
type MemoryOptions struct {
	// MaxEvents is how many events are held. 0: 4096. Negative: no limit.
	MaxEvents int

	// MaxBytes is how many bytes are held: the strings of the events and of
	// their topics, and 256 bytes for each event and 16 for each topic, about
	// what they cost on top; where there were many more and smaller events
	// before, it may be half as much again. A string that was cut out of a
	// larger one counts for its own length, though it keeps all of that in
	// memory. 0: 16 MiB. Negative: no limit.
	MaxBytes int

	// MaxAge is how long an event is held: at this age it is not read any
	// more. Its memory is freed when the Store is next used. 0 or negative: no
	// limit.
	MaxAge time.Duration
}

// A MemoryStore is a [Store] in this process's memory: the newest events,
// within the bounds of its [MemoryOptions].
//
// The ID of an event is the one its publisher gave it, or else the time the
// Store was made, six random digits, a dash and a number: a cursor of another
// process, or of this one before a restart, is unknown, and not mistaken for
// that of another event. An ID is remembered, so that a second event with it is
// refused with [ErrDuplicate], while its event is held or was the last to go.
// After that, too, a publisher must not give it to another event: a cursor from
// the first one would skip what lies between them.
//
// Its methods may be called concurrently.
type MemoryStore struct {
	maxEvents int
	maxBytes  int
	maxAge    time.Duration // no limit unless positive
	start     time.Time     // what record.age counts from
	prefix    string        // of generated IDs

	mu sync.RWMutex // guards what follows

	// The event at position p, counted from 1, is in ring[p%len(ring)]; those
	// from first to before next are held.
	ring        []record
	first, next uint64
	positions   map[string]uint64 // by ID, of the events held
	floor       string            // ID at position first-1, the last to be evicted: the oldest cursor with nothing missing after it
	sequence    uint64            // in the newest generated ID
	bytes       int               // of the events held
}

// record is an event that is held.
type record struct {
	event  sse.Event
	topics []string
	age    time.Duration // when it was appended, since MemoryStore.start; set only if there is an age limit
}

func (r *record) size() int {
	n := eventOverhead + len(r.event.ID) + len(r.event.Type) + len(r.event.Data)
	for _, topic := range r.topics {
		n += topicOverhead + len(topic)
	}
	return n
}

// NewMemoryStore returns an empty MemoryStore. A nil opts means the defaults.
func NewMemoryStore(opts *MemoryOptions) *MemoryStore {
	var o MemoryOptions
	if opts != nil {
		o = *opts
	}
	if o.MaxEvents == 0 {
		o.MaxEvents = 4096
	}
	if o.MaxBytes == 0 {
		o.MaxBytes = 16 << 20
	}
	now := time.Now()
	prefix := fmt.Sprintf("%d%06d-", now.UnixMilli(), rand.IntN(1_000_000))
	return &MemoryStore{
		maxEvents: o.MaxEvents,
		maxBytes:  o.MaxBytes,
		maxAge:    o.MaxAge,
		start:     now,
		prefix:    prefix,
		first:     1,
		next:      1,
		positions: make(map[string]uint64),
		floor:     prefix + "0",
	}
}

// Append stores ev, and evicts what is beyond the bounds. It fails, and then
// stores nothing, only if ctx has ended or if ev.ID is remembered: see [Store].
func (s *MemoryStore) Append(ctx context.Context, ev sse.Event, topics []string) (string, error) {
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	r := record{event: ev, topics: slices.Clone(topics)}

	s.mu.Lock()
	defer s.mu.Unlock()
	s.evictLocked(0, 0) // what has expired is not a duplicate
	if ev.ID == "" {
		r.event.ID = s.generateLocked()
	} else if _, ok := s.positionLocked(ev.ID); ok {
		return ev.ID, ErrDuplicate
	}
	size := r.size()
	s.evictLocked(1, size)
	if s.maxBytes >= 0 && size > s.maxBytes {
		// Everything older had to go, or there would be a hole before the next
		// event. This one goes as it comes.
		s.floor = r.event.ID
		s.first++
		s.next++
		return r.event.ID, nil
	}
	if s.maxAge > 0 {
		r.age = time.Since(s.start)
	}
	if s.heldLocked() == len(s.ring) {
		n := max(minRing, 2*len(s.ring))
		if s.maxEvents >= 0 {
			n = min(n, s.maxEvents)
		}
		s.resizeLocked(n)
	}
	*s.slotLocked(s.next) = r
	s.positions[r.event.ID] = s.next
	s.bytes += size
	s.next++
	return r.event.ID, nil
}

// Last returns the ID of the newest event, whether or not it is still held. It
// does not fail.
func (s *MemoryStore) Last(context.Context) (string, error) {
	s.rlock()
	defer s.mu.RUnlock()
	if s.heldLocked() == 0 {
		return s.floor, nil
	}
	return s.slotLocked(s.next - 1).event.ID, nil
}

// rlock locks mu for reading, with no expired event held.
func (s *MemoryStore) rlock() {
	s.mu.RLock()
	for s.expiredLocked() {
		// Another reader may evict first, and another event may expire before
		// the lock is had again: both are why this looks again each time.
		s.mu.RUnlock()
		s.mu.Lock()
		s.evictLocked(0, 0)
		s.mu.Unlock()
		s.mu.RLock()
	}
}

// evictLocked evicts the oldest events until none has expired and there is
// room for so many events and bytes more, or until none is held.
func (s *MemoryStore) evictLocked(events, bytes int) {
	for s.first < s.next {
		full := s.maxEvents >= 0 && s.heldLocked()+events > s.maxEvents ||
			s.maxBytes >= 0 && s.bytes+bytes > s.maxBytes
		if !full && !s.expiredLocked() {
			break
		}
		oldest := s.slotLocked(s.first)
		s.floor = oldest.event.ID
		s.bytes -= oldest.size()
		delete(s.positions, s.floor)
		*oldest = record{}
		s.first++
	}
	if len(s.ring) > minRing && s.heldLocked() < len(s.ring)/8 {
		s.resizeLocked(max(minRing, 2*s.heldLocked()))
	}
}

// expiredLocked reports whether the oldest event has expired. mu may be locked
// for reading.
func (s *MemoryStore) expiredLocked() bool {
	return s.maxAge > 0 && s.first < s.next && time.Since(s.start)-s.slotLocked(s.first).age >= s.maxAge
}

// resizeLocked moves the events held to a ring of n slots.
func (s *MemoryStore) resizeLocked(n int) {
	ring := make([]record, n)
	positions := s.positions
	if n < len(s.ring) {
		// Deleting from a map frees its keys but not its table.
		positions = make(map[string]uint64, s.heldLocked())
	}
	for p := s.first; p < s.next; p++ {
		held := s.slotLocked(p)
		ring[p%uint64(n)] = *held
		if n < len(s.ring) {
			positions[held.event.ID] = p
		}
	}
	s.ring, s.positions = ring, positions
}

func (s *MemoryStore) heldLocked() int { return int(s.next - s.first) }

func (s *MemoryStore) slotLocked(position uint64) *record {
	return &s.ring[position%uint64(len(s.ring))]
}

// positionLocked returns the position of the event with this ID, if it is
// remembered. mu may be locked for reading.
func (s *MemoryStore) positionLocked(id string) (uint64, bool) {
	if p, ok := s.positions[id]; ok {
		return p, true
	}
	return s.first - 1, id == s.floor
}

// generateLocked returns the next ID of the Store's own that no publisher has
// used.
func (s *MemoryStore) generateLocked() string {
	var buf [64]byte
	for {
		s.sequence++
		id := string(strconv.AppendUint(append(buf[:0], s.prefix...), s.sequence, 10))
		if _, ok := s.positionLocked(id); !ok {
			return id
		}
	}
}
