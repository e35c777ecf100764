package broker

import (
	"sync"
	"sync/atomic"
	"time"
)

// An errand is a list of registrations whose turn it is. A shard does not write
// to them, for a write may wait for the other end. It sends a worker, which has
// them write one after the other. A goroutine for each would have to be woken
// for each event, which takes a fifth of what an event costs.
//
// Nobody waits for a subscriber that does not read, though: a worker that does
// not get on is relieved by another one, which goes on with the errand. Whoever
// was in the way gets a goroutine of its own for its turns, until it keeps up
// again.
type errand struct {
	regs []*registration
	next atomic.Int64 // index of the first that no worker has taken on
}

// errandSize is how many registrations an errand is for: enough for its own cost
// not to count, few enough for the first of many to be written to early.
const errandSize = 1024

// A worker that has been with one registration for as long as its patience, and
// at the latest for twice as long, is relieved by one with half as much: where
// one subscriber does not read there are often more. If that one does not get on
// either, two relieve it, and so on: any number of such subscribers is out of the
// way after some tens of milliseconds. A worker may also only have to wait for a
// core. With less patience that befalls many on a busy machine, and a burst of
// small events to 500 subscribers takes a twentieth longer.
const (
	maxPatience = 4 * time.Millisecond
	minPatience = maxPatience / 4
)

// longTurn is how long a turn takes for which others are not to wait again.
const longTurn = time.Millisecond

// schedule gives r, which is nobody's, a turn.
func (s *shard) schedule(r *registration) {
	if r.sub.slow.Load() {
		r.sub.spawn(nil)
		return
	}
	if s.ready = append(s.ready, r); len(s.ready) == errandSize {
		s.dispatch()
	}
}

// dispatch sends a worker to the registrations that are ready.
func (s *shard) dispatch() {
	if len(s.ready) == 0 {
		return
	}
	e := &errand{regs: s.ready}
	s.ready = make([]*registration, 0, len(e.regs))
	if s.errands == nil {
		s.errands = make(chan *errand, 256)
		go (&worker{born: s.born, errands: s.errands, patience: maxPatience}).work(nil)
	}
	select {
	case s.errands <- e:
	default:
		go (&worker{born: s.born, patience: maxPatience}).work(e) // the other has plenty to do
	}
}

// A worker goes on errands. The first of a shard is started by the shard, others
// by the timer of the one they relieve. It ends with the shard or, when it has
// been relieved, with its errand, on which it goes on once it is free again. One
// that was started for one errand ends with that. One that a ResponseWriter ends,
// by [runtime.Goexit], is missed by its timer.
type worker struct {
	born     time.Time      // of the Broker
	errands  <-chan *errand // closed by the shard as it ends; nil: it was started for one only
	patience time.Duration
	turns    atomic.Int64 // that have begun
	relieved atomic.Bool

	mu     sync.Mutex // guards what follows
	timer  *time.Timer
	errand *errand // that it is on
	seen   int64   // turns when somebody looked last
}

// work goes on e, if there is one, and then on all that come.
func (w *worker) work(e *errand) {
	if e != nil {
		w.do(e)
	}
	for w.errands != nil && !w.relieved.Load() {
		e, ok := <-w.errands
		if !ok {
			return
		}
		w.do(e)
	}
}

func (w *worker) do(e *errand) {
	w.watch(e)
	for began := time.Since(w.born); ; {
		i := e.next.Add(1) - 1
		if i >= int64(len(e.regs)) {
			break
		}
		w.turns.Add(1)
		r := e.regs[i]
		e.regs[i] = nil // its end may come long before that of the errand
		r.sub.turn(r, began)
		ended := time.Since(w.born)
		if ended-began >= longTurn {
			r.sub.slow.Store(true)
		}
		began = ended
	}
	w.watch(nil)
}

// watch has check called once in a while as long as w is on e; nil: no more.
func (w *worker) watch(e *errand) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.errand, w.seen = e, w.turns.Load()
	switch {
	case e == nil:
		w.timer.Stop()
		w.patience = min(2*w.patience, maxPatience)
	case w.timer == nil:
		w.timer = time.AfterFunc(w.patience, w.check)
	default:
		w.timer.Reset(w.patience)
	}
}

// check relieves w if its turn has not ended since the last time.
func (w *worker) check() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.errand == nil {
		return
	}
	if turns := w.turns.Load(); turns != w.seen {
		w.seen = turns
		w.timer.Reset(w.patience)
		return
	}
	w.relieved.Store(true)
	patience := max(w.patience/2, minPatience)
	go (&worker{born: w.born, errands: w.errands, patience: patience}).work(w.errand)
	if w.patience < maxPatience {
		go (&worker{born: w.born, patience: patience}).work(w.errand)
	}
	w.errand = nil // once is enough
}
