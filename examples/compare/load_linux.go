package main

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"
	"time"
)

// load is the load generator: all subscribers, read by the one goroutine that
// also tells the server what to publish. It uses epoll and blocking-free reads
// directly, because a goroutine and a net.Conn for each would take a good part
// of the CPU that is measured next to it: two reads and two switches for every
// arrival instead of one read.
type load struct {
	epoll       int
	conns       []int        // descriptors; the index is the subscriber's
	subscribers []subscriber // same length
	arrived     int          // events that have arrived at all of them together
	buf         []byte
	ready       []syscall.EpollEvent

	timed    bool // note arrivals
	arrivals []arrival
}

// An arrival is the time at which one subscriber had read one event.
type arrival struct {
	number int
	nanos  int64 // of the wall clock, as in the server's process
}

func newLoad() (*load, error) {
	epoll, err := syscall.EpollCreate1(syscall.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	return &load{epoll: epoll, buf: make([]byte, 256<<10), ready: make([]syscall.EpollEvent, 512)}, nil
}

// connect opens n more connections. A subscriber of these requires that its
// first event has the number next.
func (l *load) connect(addr string, n, next int) error {
	to, err := netip.ParseAddrPort(addr)
	if err != nil {
		return err
	}
	sockaddr := &syscall.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	for range n {
		fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("socket: %w", err)
		}
		i := len(l.conns)
		l.conns = append(l.conns, fd)
		l.subscribers = append(l.subscribers, subscriber{next: next})
		if err := connectTo(fd, sockaddr); err != nil {
			return fmt.Errorf("connect: %w", err)
		}
		// Closing resets: thousands of connections in TIME_WAIT would be in the
		// way of the next contestant.
		linger := syscall.Linger{Onoff: 1}
		if err := syscall.SetsockoptLinger(fd, syscall.SOL_SOCKET, syscall.SO_LINGER, &linger); err != nil {
			return fmt.Errorf("setsockopt: %w", err)
		}
		if err := syscall.SetNonblock(fd, true); err != nil {
			return err
		}
		event := syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(i)}
		if err := syscall.EpollCtl(l.epoll, syscall.EPOLL_CTL_ADD, fd, &event); err != nil {
			return fmt.Errorf("epoll: %w", err)
		}
	}
	return nil
}

// connectTo goes on after a signal, such as the Go runtime's own: the
// connection is made all the same.
func connectTo(fd int, to syscall.Sockaddr) error {
	for {
		switch err := syscall.Connect(fd, to); err {
		case syscall.EINTR, syscall.EALREADY:
		case syscall.EISCONN:
			return nil
		default:
			return err
		}
	}
}

// request sends a request on every connection from number from on.
func (l *load) request(from int, lastEventID string) error {
	req := "GET /?stream=" + streamName + " HTTP/1.1\r\nHost: compare\r\nAccept: text/event-stream\r\n"
	if lastEventID != "" {
		req += "Last-Event-ID: " + lastEventID + "\r\n"
	}
	req += "\r\n"
	for _, fd := range l.conns[from:] {
		if n, err := syscall.Write(fd, []byte(req)); err != nil || n < len(req) {
			return fmt.Errorf("request: %d of %d bytes: %w", n, len(req), err)
		}
	}
	return nil
}

// read waits up to wait for something to arrive and takes all that has.
func (l *load) read(wait time.Duration) error {
	n, err := syscall.EpollWait(l.epoll, l.ready, int(wait.Milliseconds()))
	if errors.Is(err, syscall.EINTR) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	for _, r := range l.ready[:n] {
		s := &l.subscribers[r.Fd]
		n, err := syscall.Read(l.conns[r.Fd], l.buf)
		if errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read: %w", err)
		}
		if n == 0 {
			return errors.New("the server closed a connection")
		}
		events, err := s.take(l.buf[:n])
		l.arrived += events
		if err != nil {
			return err
		}
		if l.timed && events > 0 {
			now := time.Now().UnixNano()
			for i := range events {
				l.arrivals = append(l.arrivals, arrival{number: s.next - events + i, nanos: now})
			}
		}
	}
	return nil
}

// Close closes all connections.
func (l *load) Close() {
	for _, fd := range l.conns {
		_ = syscall.Close(fd)
	}
	_ = syscall.Close(l.epoll)
}
