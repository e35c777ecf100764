//go:build unix

package broker

import "syscall"

// canWriteSocket says whether writeSocket works here.
const canWriteSocket = true

// writeSocket writes what the socket fd, which is in non-blocking mode, takes of
// p at once.
func writeSocket(fd uintptr, p []byte) (n int, err error) {
	for n < len(p) {
		m, err := syscall.Write(int(fd), p[n:])
		switch {
		case err == syscall.EINTR:
		case err == syscall.EAGAIN:
			return n, nil
		case err != nil:
			return n, err
		default:
			n += m
		}
	}
	return n, nil
}
