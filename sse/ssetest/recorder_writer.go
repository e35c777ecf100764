package ssetest

import (
	"fmt"
	"net/http"
	"time"
)

// writeBuffer is how many bytes net/http takes before a Write can notice that
// nobody reads any more.
const writeBuffer = 4096

// recorderWriter is a Recorder as its handler sees it. Besides
// http.ResponseWriter and http.Flusher it has the methods that
// http.ResponseController looks for.
type recorderWriter Recorder

var _ http.Flusher = (*recorderWriter)(nil)

// lock locks the Recorder for a call by the handler.
func (w *recorderWriter) lock(method string) *Recorder {
	w.mu.Lock()
	if w.returned {
		w.mu.Unlock()
		panic(fmt.Sprintf("ssetest: %s of a ResponseWriter called after its handler returned", method))
	}
	return (*Recorder)(w)
}

func (w *recorderWriter) Header() http.Header { return w.header }

func (w *recorderWriter) WriteHeader(code int) {
	r := w.lock("WriteHeader")
	defer r.mu.Unlock()
	if code < 100 || code > 999 {
		panic(fmt.Sprintf("ssetest: WriteHeader of the status %d", code))
	}
	if code < 200 && code != http.StatusSwitchingProtocols {
		return // informational: the response is still to come
	}
	r.writeHeaderLocked(code)
}

func (w *recorderWriter) Write(p []byte) (int, error) {
	r := w.lock("Write")
	defer r.mu.Unlock()
	if _, ok := r.header["Content-Type"]; !ok && r.code == 0 && len(p) > 0 {
		r.header.Set("Content-Type", http.DetectContentType(p))
	}
	r.writeHeaderLocked(http.StatusOK)
	if r.bodyless {
		if r.code == http.StatusNoContent || r.code == http.StatusNotModified {
			return 0, http.ErrBodyNotAllowed
		}
		return len(p), nil // HEAD
	}
	if r.broken != nil || len(r.pending)+len(p) > writeBuffer {
		if err := r.sendLocked(nil); err != nil {
			return 0, err
		}
	}
	r.pending = append(r.pending, p...)
	return len(p), nil
}

func (w *recorderWriter) FlushError() error {
	r := w.lock("Flush")
	defer r.mu.Unlock()
	return r.flushLocked()
}

func (w *recorderWriter) Flush() { w.FlushError() }

func (w *recorderWriter) SetWriteDeadline(t time.Time) error {
	r := w.lock("SetWriteDeadline")
	defer r.mu.Unlock()
	return r.body.setDeadline(&r.body.writeBy, t)
}

func (w *recorderWriter) SetReadDeadline(time.Time) error {
	w.lock("SetReadDeadline").mu.Unlock()
	return nil
}

func (w *recorderWriter) EnableFullDuplex() error { return nil }
