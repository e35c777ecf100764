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
// not get on is relieved by others, which go on with the errand, and with those
// that wait behind it. Whoever was in the way gets a goroutine of its own for its
// turns, until it has kept up for a while.
type errand struct {
	regs []*registration
	next atomic.Int64 // index of the first that no worker has taken on
	help atomic.Int64 // workers that were started for it, beyond the first
}

// errandSize is how many registrations an errand is for: enough for its own cost
// not to count, few enough for the first of many to be written to early.
const errandSize = 1024

// A worker does not get on if its turns take more than fairTurn each, over the
// time of its patience. It is relieved by one with half as much: where one
// subscriber does not read there are often more. If that one does not get on
// either, two relieve it, and so on: a thousand such subscribers are out of the
// way after some 20 ms. A worker may also only have to wait for a core. With less
// patience that befalls many on a busy machine, and a burst of small events to
// 500 subscribers takes a twentieth longer.
const (
	maxPatience = 4 * time.Millisecond
	minPatience = maxPatience / 4
	fairTurn    = maxPatience / 16

	// maxHelp is how much help an errand gets for turns that are not fair but do
	// end: on a machine that is short of cores, more would make it worse.
	maxHelp = 64
)

// A turn of longTurn or more, for which others have waited, puts its subscriber in
// debt: by longDebt for each longTurn. Each short turn repays one. Whoever owes
// slowDebt or more has its turns in a goroutine of its own: who was stuck for four
// milliseconds, and who is for less time, but again and again. A turn that only
// had to wait for a core is mostly repaid before the next.
const (
	longTurn = time.Millisecond
	longDebt = 16
	slowDebt = 4 * longDebt
	maxDebt  = 2 * slowDebt
)

// repay counts a turn of s that took d.
func (s *Subscription) repay(d time.Duration) {
	if d < longTurn && s.debt.Load() > 0 {
		s.debt.Add(-1)
	}
}

// owe counts a turn of s that took d, for which others have waited.
func (s *Subscription) owe(d time.Duration) {
	s.debt.Store(min(s.debt.Load()+longDebt*int32(min(d/longTurn, maxDebt/longDebt)), maxDebt))
}

// isSlow reports whether no worker has the time to wait for s.
func (s *Subscription) isSlow() bool { return s.debt.Load() >= slowDebt }

// schedule gives r, which is nobody's, a turn.
func (s *shard) schedule(r *registration) {
	if r.sub.isSlow() {
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
		s.hire(nil, false)
	}
	select {
	case s.errands <- e:
	default:
		s.hire(e, true) // the other has plenty to do
	}
}

// hire starts a worker, who goes on e first, if there is one.
func (s *shard) hire(e *errand, spare bool) {
	go (&worker{born: s.born, errands: s.errands, patience: maxPatience, spare: spare}).work(e)
}

// A worker goes on errands. A shard starts one that ends with the shard, and spare
// ones, which end when no errand waits. Others are started by the timer of the one
// they relieve. Who has been relieved ends with its errand, on which it goes on
// once it is free again. One that a ResponseWriter ends, by [runtime.Goexit], is
// missed by its timer.
type worker struct {
	born     time.Time      // of the Broker
	errands  <-chan *errand // closed by the shard as it ends
	patience time.Duration
	spare    bool          // it ends when no errand waits
	now      time.Duration // the age of the Broker, from born, when it looked last, as after each write; 0: it has to look
	turns    atomic.Int64  // that have begun
	relieved atomic.Bool
	yields   yielder

	mu     sync.Mutex // guards what follows
	timer  *time.Timer
	errand *errand // that it is on
	seen   int64   // turns when somebody looked last
}

// work goes on e, if there is one, and then on others.
func (w *worker) work(e *errand) {
	for more := true; more; e, more = w.next() {
		if e != nil {
			w.do(e)
		}
	}
}

// next returns the next errand; not ok: w is not needed any more.
func (w *worker) next() (e *errand, ok bool) {
	if w.relieved.Load() {
		return nil, false
	}
	select {
	case e, ok = <-w.errands:
		return e, ok
	default:
	}
	if w.spare {
		return nil, false
	}
	w.patience = maxPatience // nobody is in the way
	e, ok = <-w.errands
	return e, ok // not ok: the shard has ended
}

func (w *worker) do(e *errand) {
	w.supervise(e)
	w.now = time.Since(w.born)
	w.yields.begin(w.now)
	for {
		i := e.next.Add(1) - 1
		if i >= int64(len(e.regs)) {
			break
		}
		w.turns.Add(1)
		r := e.regs[i]
		e.regs[i] = nil // its end may come long before that of the errand
		sub, began := r.sub, w.now
		sub.turn(r, w)
		if w.now == 0 || w.now == began { // it has not written, or that has failed
			w.now = time.Since(w.born)
		}
		if d := w.now - began; d < longTurn {
			sub.repay(d)
		} else {
			sub.owe(d)
		}
		if w.yields.wrote(w.born, yieldCore) {
			w.now = time.Since(w.born)
		}
	}
	w.yields.end(w.now)
	w.supervise(nil)
}

// supervise has check called once in a while as long as w is on e; nil: no more.
func (w *worker) supervise(e *errand) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.errand, w.seen = e, w.turns.Load()
	switch {
	case e == nil:
		w.timer.Stop()
	case w.timer == nil:
		w.timer = time.AfterFunc(w.patience, w.check)
	default:
		w.timer.Reset(w.patience)
	}
}

// check relieves w if it has not got on since the last time.
func (w *worker) check() {
	w.mu.Lock()
	defer w.mu.Unlock()
	e := w.errand
	if e == nil {
		return
	}
	turns := w.turns.Load()
	began := turns - w.seen
	w.seen = turns
	if time.Duration(began)*fairTurn >= w.patience || began > 0 && e.help.Load() >= maxHelp {
		w.timer.Reset(w.patience)
		return
	}
	w.relieved.Store(true)
	w.errand = nil // once is enough
	w.relieve(e, w.spare)
	if w.patience < maxPatience {
		w.relieve(e, true)
	}
}

// relieve starts a worker that goes on with e.
func (w *worker) relieve(e *errand, spare bool) {
	e.help.Add(1)
	next := &worker{born: w.born, errands: w.errands, patience: max(w.patience/2, minPatience), spare: spare}
	go next.work(e)
}
