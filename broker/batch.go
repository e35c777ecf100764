package broker

import "sync/atomic"

// A batch is the frames that have come for a group since the last flush of its
// shard: what goes into a subscriber's queue, or to its socket, at once.
// Subscribers that get the same frames share one batch and its bytes, those of
// different groups, too. The batches of one flush are a tree: each extends its
// parent by a frame. A group thus has a place in the tree instead of a list of its
// own, and a frame is a step from one place to the next. Who gets the later ones of
// them alone gets a batch outside the tree.
//
// Once it is in a queue a batch does not change, but for what the shard keeps
// to itself.
type batch struct {
	parent *batch // nil: this is the first frame
	frame  *frame // the newest
	events int    // 0: a mark
	size   int    // bytes of the frames
	first  int    // bytes of the first of them
	data   []byte // the frames, one after the other; of the shard alone until ready has made it

	deflated atomic.Pointer[deflated] // nil until a subscriber wants it; see deflate

	next *batch // the newest extension; of the shard alone
}

// newMark returns a batch without events, which tells by its place in the queue
// that everything up to an ID has been queued, and by its count whether events
// are missing before it. "" is no ID.
func newMark(id string) *batch {
	f := &frame{}
	f.event.ID = id
	return &batch{frame: f}
}

// with returns the extension of b by f; that of an empty batch is a first one.
// All that get f take this step before any takes one with another frame, so it
// is the newest extension, or new.
func (b *batch) with(f *frame) *batch {
	if b.next == nil || b.next.frame != f {
		next := &batch{frame: f, events: b.events + 1, size: b.size + len(f.data), first: b.first}
		if b.events > 0 {
			next.parent = b
		} else {
			next.first = len(f.data)
		}
		b.next = next
	}
	return b.next
}

// since returns b without past, which it extends, as a batch outside the tree, or
// nil if that is all. Until the flush all who need it share one.
func (s *shard) since(b, past *batch) *batch {
	if b == past {
		return nil
	}
	if made := s.remainders[[2]*batch{b, past}]; made != nil {
		return made
	}
	rest := s.since(b.parent, past)
	if rest == nil {
		rest = new(batch)
	}
	next := rest.with(b.frame)
	rest.next = nil // or a queue that holds the shorter one would hold the longer
	if s.remainders == nil {
		s.remainders = make(map[[2]*batch]*batch)
	}
	s.remainders[[2]*batch{b, past}] = next
	return next
}

// ready makes data.
func (b *batch) ready() {
	switch {
	case b.data != nil:
	case b.events == 1:
		b.data = b.frame.data
	case b.events > 1:
		b.data = make([]byte, b.size)
		at := b.size
		for f := b; f != nil; f = f.parent {
			at -= len(f.frame.data)
			copy(b.data[at:], f.frame.data)
		}
	}
}
