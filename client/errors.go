package client

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/fanfare-go/fanfare/sse"
)

// ErrIdle is why a connection was given up that was silent for
// [Options].IdleTimeout. OnRetry and Retryable are called with it, and the last
// element of [Client.Events] wraps it if no further attempt is made.
var ErrIdle = errors.New("client: idle timeout")

// A ResponseError is a response that is no stream: its status is neither 200
// nor 204, or its media type is not text/event-stream. It belongs to whom it
// was passed; the Client keeps no part of it.
type ResponseError struct {
	StatusCode int
	Header     http.Header
	Body       []byte // the first 4 KiB; less if it took longer than 3 seconds, or paused for IdleTimeout
}

// Error says what was unexpected: the status or, if that was 200, the media
// type. It leaves the body out, which may be a whole page of HTML.
func (e *ResponseError) Error() string {
	if e.StatusCode == http.StatusOK {
		return fmt.Sprintf("client: unexpected content type %q", e.Header.Get("Content-Type"))
	}
	return strings.TrimRight(fmt.Sprintf("client: unexpected status %d %s", e.StatusCode, http.StatusText(e.StatusCode)), " ")
}

// retryable is the default of [Options].Retryable.
func retryable(err error) bool {
	if refused, ok := errors.AsType[*ResponseError](err); ok {
		switch code := refused.StatusCode; code {
		case http.StatusRequestTimeout, http.StatusTooManyRequests:
			return true
		default:
			return code >= 500 && code < 600
		}
	}
	// The server would send the same event again.
	return !errors.Is(err, sse.ErrTooLong)
}

// retryAfter returns the wait that a refusal asks for in its header
// Retry-After, in seconds or as a date. It is not positive if err is no refusal,
// if there is no such header, or if that makes no sense or lies in the past.
func retryAfter(err error) time.Duration {
	refused, ok := errors.AsType[*ResponseError](err)
	if !ok {
		return 0
	}
	after := refused.Header.Get("Retry-After")
	seconds, err := strconv.ParseUint(after, 10, 64)
	if err == nil || errors.Is(err, strconv.ErrRange) {
		return time.Duration(min(seconds, uint64(maxServerWait/time.Second))) * time.Second
	}
	if date, err := http.ParseTime(after); err == nil {
		return time.Until(date)
	}
	return 0
}

// finalError returns the error that ends an iteration: err with this package's
// prefix, once, and with the number of failed attempts if MaxAttempts ended it
// (0 if not). Opened tells that err is the end of a stream.
func finalError(err error, opened bool, failed int) error {
	if !strings.HasPrefix(err.Error(), "client: ") {
		what := ""
		if opened {
			what = "stream ended: "
		}
		err = fmt.Errorf("client: %s%w", what, err)
	}
	if failed > 0 {
		err = fmt.Errorf("%w (failed attempts: %d)", err, failed)
	}
	return err
}
