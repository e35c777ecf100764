package client

import (
	"io"
	"time"
)

// A watch calls a function when it has been armed for too long. The zero watch
// never does. It belongs to the goroutine that ranges over Events; the function
// runs in one of its own.
type watch struct {
	timer *time.Timer // nil: never
	limit time.Duration
}

// newWatch returns a disarmed watch, which never fires if limit is not positive.
func newWatch(limit time.Duration, fire func()) watch {
	if limit <= 0 {
		return watch{}
	}
	t := time.AfterFunc(limit, fire)
	t.Stop()
	return watch{timer: t, limit: limit}
}

// arm starts the time anew.
func (w *watch) arm() {
	if w.timer != nil {
		w.timer.Reset(w.limit)
	}
}

// disarm stops the time.
func (w *watch) disarm() {
	if w.timer != nil {
		w.timer.Stop()
	}
}

// watched is the body of a response. The watch is armed only in Read: the time that
// the consumer takes over an event is not the server's silence.
type watched struct {
	body  io.Reader
	watch *watch
}

func (w watched) Read(p []byte) (int, error) {
	w.watch.arm()
	defer w.watch.disarm()
	return w.body.Read(p)
}

// A source is the body of a stream as the Decoder reads it.
type source struct {
	run  *run
	body watched
}

// Read reads from the body. The Decoder asks for more once it has nothing left to
// say about what it has, so this is also when an ID is taken over that a block
// without data has set.
func (s *source) Read(p []byte) (int, error) {
	s.run.setLastEventID(s.run.client.decoder.LastEventID())
	return s.body.Read(p)
}
