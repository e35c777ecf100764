package broker

import (
	"time"

	"github.com/fanfare-go/fanfare/sse"
)

// Heartbeats are of the shards: while a subscriber over HTTP is parked, its shard
// knows when it was written to last. A timer for each stream would cost an idle
// one 150 bytes.

// comment is a heartbeat that has no ID to tell.
var comment = &batch{frame: &frame{}, data: sse.AppendComment(nil, "")}

// beat hands s the newest ID, for subscribers who have not heard of it.
func (b *Broker) beat(s *shard) {
	b.order.Lock()
	defer b.order.Unlock()
	mark := newMark("")
	if data, err := sse.AppendID(nil, b.newest); err == nil && b.newest != "" && !b.opts.NoPriming {
		mark = newMark(b.newest)
		mark.data = data
	}
	s.send(op{do: (*shard).beat, mark: mark})
}

// beat sends a heartbeat to those to whom nothing has been written for so long
// that one is due: the newest ID, up to which the shard has delivered
// everything, where that is news.
func (s *shard) beat(o op) {
	s.flush()
	next := time.Duration(-1) // there is nobody
	for r := range s.all {
		if r.waits {
			continue // a loop over Events has no heartbeats
		}
		rest := s.heartbeat / 8 // until its turn may be over
		if r.isParked() {
			rest = s.heartbeat - (s.now.Sub(s.born) - r.sub.wrote)
			if rest <= 0 {
				s.beatOne(r, o.mark)
				rest = s.heartbeat
			}
		}
		if next < 0 || rest < next {
			next = rest
		}
	}
	s.account()
	if s.beats = next >= 0; s.beats {
		// With many subscribers somebody's is always due. To look takes a
		// hundredth of the time at most, and heartbeats are a little late.
		pause := min(100*time.Since(s.now), s.heartbeat/4)
		s.beater.Reset(max(next, pause))
	}
}

// beatOne sends a heartbeat to r, which is parked.
func (s *shard) beatOne(r *registration, mark *batch) {
	sub := r.sub
	if id := mark.frame.event.ID; id == "" || id == sub.handed || sub.isBehind(id) {
		mark = comment
	}
	if !sub.direct {
		s.put(r, item{mark, r.count})
		return
	}
	r.queue = nil // an idle subscriber needs none
	if mark != comment {
		sub.moveTo(mark.frame.event.ID)
	}
	s.writeBytes(r, mark)
}

// expectBeats has beat called when a heartbeat may be due for who is new.
func (s *shard) expectBeats() {
	if !s.beats && s.heartbeat > 0 {
		s.beats = true
		s.beater.Reset(s.heartbeat)
	}
}
