package broker

import (
	"os"
	"sync"
	"syscall"
)

// A watcher notices when the other ends of detached connections go. Elsewhere a
// goroutine for each is parked in a read, which is half of what an idle
// subscriber costs: two to four kilobytes of stack, and half of one besides.
// One goroutine for all of them asks an epoll instance of its own, which the
// runtime waits for as it does for a socket.
type watcher struct {
	mu     sync.Mutex // guards what follows
	epoll  *os.File   // nil until there is something to watch
	raw    syscall.RawConn
	done   chan struct{}           // closed by run as it returns
	subs   map[int32]*Subscription // by the descriptor of the line
	closed bool
}

// add has s closed when the other end of its line goes, and reports whether
// that is possible.
func (w *watcher) add(s *Subscription) (ok bool) {
	if s.line.raw == nil {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || w.epoll == nil && w.open() != nil {
		return false
	}
	_ = s.line.raw.Control(func(fd uintptr) {
		if ok = w.control(syscall.EPOLL_CTL_ADD, fd); ok {
			w.subs[int32(fd)] = s
		}
	})
	return ok
}

// open begins to watch.
func (w *watcher) open() error {
	fd, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return err
	}
	_ = syscall.SetNonblock(fd, true) // tells NewFile that it can be waited for
	epoll := os.NewFile(uintptr(fd), "epoll")
	if w.raw, err = epoll.SyscallConn(); err != nil {
		_ = epoll.Close()
		return err
	}
	w.epoll, w.done, w.subs = epoll, make(chan struct{}), make(map[int32]*Subscription)
	go w.run()
	return nil
}

// control does op, of epoll_ctl, for fd, and reports whether that went well.
func (w *watcher) control(op int, fd uintptr) (ok bool) {
	_ = w.raw.Control(func(epoll uintptr) {
		// Not edge-triggered: what is not read at once makes an event again.
		event := syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(fd)}
		ok = syscall.EpollCtl(int(epoll), op, int(fd), &event) == nil
	})
	return ok
}

// remove forgets s.
func (w *watcher) remove(s *Subscription) {
	if s.line.raw == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	_ = s.line.raw.Control(func(fd uintptr) {
		if w.subs[int32(fd)] == s {
			delete(w.subs, int32(fd))
			w.control(syscall.EPOLL_CTL_DEL, fd) // or its end would make events until it is closed
		}
	})
}

// run waits for events until close.
func (w *watcher) run() {
	defer close(w.done)
	events := make([]syscall.EpollEvent, 128)
	for {
		var n int
		var err error
		closed := w.raw.Read(func(epoll uintptr) (done bool) {
			n, err = syscall.EpollWait(int(epoll), events, 0)
			return n != 0
		})
		if closed != nil {
			return
		}
		if err != nil {
			continue // EINTR; there is nothing else to go wrong
		}
		for _, e := range events[:n] {
			w.mu.Lock()
			s := w.subs[e.Fd]
			w.mu.Unlock()
			// If the descriptor is that of another line since, nothing has
			// happened to that: then there is nothing to read.
			if s != nil && s.line.hasEnded() {
				w.remove(s)
				s.gone()
			}
		}
	}
}

// close ends w. Whoever is watched is not any more.
func (w *watcher) close() {
	w.mu.Lock()
	w.closed, w.subs = true, nil
	epoll := w.epoll
	w.mu.Unlock()
	if epoll != nil {
		_ = epoll.Close()
		<-w.done
	}
}

// hasEnded reads what the other end has sent, some of it, and reports whether
// that was the last, or too much.
func (l *line) hasEnded() bool {
	var ignored [512]byte
	var n int
	var err error
	if l.raw.Read(func(fd uintptr) (done bool) {
		n, err = syscall.Read(int(fd), ignored[:])
		return true // rather than wait
	}) != nil {
		return true
	}
	l.ignored += max(n, 0)
	return n == 0 || err != nil && err != syscall.EAGAIN && err != syscall.EINTR || l.ignored > maxIgnored
}
