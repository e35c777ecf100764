package client_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/fanfare-go/fanfare/client"
)

func TestAResponseOfTheRightTypeIsAStream(t *testing.T) {
	for _, contentType := range []string{
		"text/event-stream",
		"text/event-stream;charset=windows-1252",
		"text/event-stream;",
		"text/event-stream ; charset=utf-8",
		"Text/Event-Stream",
	} {
		inBubble(t, contentType, func(t *testing.T) {
			p := serve(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", contentType)
				io.WriteString(w, "data: größer\n\n")
			})
			assert.Equal(t, []string{"open", `event "": größer`, "retry: EOF"}, consume(t.Context(), p, client.Options{}))
		})
	}
}

func TestAResponseOfAnotherTypeEndsTheIteration(t *testing.T) {
	for _, contentType := range []string{"text/x-bogus", "text/plain", "text/html", "application/json", "x bogus", "", "text/event-streams"} {
		inBubble(t, contentType, func(t *testing.T) {
			p := serve(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header()["Content-Type"] = []string{contentType}
				io.WriteString(w, "data: no\n\n")
			})
			want := fmt.Sprintf("error: client: unexpected content type %q", contentType)
			assert.Equal(t, []string{want}, consume(t.Context(), p, client.Options{}))
			assert.Len(t, p.asked(), 1)
		})
	}
	inBubble(t, "none", func(t *testing.T) {
		p := serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header()["Content-Type"] = nil
			io.WriteString(w, "data: no\n\n")
		})
		assert.Equal(t, []string{`error: client: unexpected content type ""`}, consume(t.Context(), p, client.Options{}))
	})
}

func TestAStatusThatCannotHealEndsTheIteration(t *testing.T) {
	for _, code := range []int{201, 202, 203, 205, 206, 210, 299, 300, 301, 302, 303, 304, 305, 306, 307, 308, 400, 401, 403, 404, 410, 418, 499, 600} {
		inBubble(t, fmt.Sprint(code), func(t *testing.T) {
			p := serve(t, status(code, "Content-Type", "text/event-stream")) // a 3xx without Location
			want := strings.TrimRight(fmt.Sprintf("error: client: unexpected status %d %s", code, http.StatusText(code)), " ")
			assert.Equal(t, []string{want}, consume(t.Context(), p, client.Options{}))
			assert.Len(t, p.asked(), 1)
		})
	}
}

func TestAStatusThatMayHealIsTriedAgain(t *testing.T) {
	for _, code := range []int{408, 429, 500, 502, 503, 504, 599} {
		inBubble(t, fmt.Sprint(code), func(t *testing.T) {
			p := serve(t, status(code), whole("data: healed\n\n"))
			refusal := strings.TrimRight(fmt.Sprintf("retry: client: unexpected status %d %s", code, http.StatusText(code)), " ")
			assert.Equal(t, []string{refusal, "open", `event "": healed`, "retry: EOF"}, consume(t.Context(), p, client.Options{}))
		})
	}
}

func Test204EndsTheIterationWithoutAnError(t *testing.T) {
	inBubble(t, "on the first request", func(t *testing.T) {
		p := serve(t)
		assert.Empty(t, consume(t.Context(), p, client.Options{}))
		assert.Len(t, p.asked(), 1)
	})
	inBubble(t, "behind a redirect", func(t *testing.T) {
		p := serve(t, status(302, "Location", "/stop"))
		assert.Empty(t, consume(t.Context(), p, client.Options{}))
		assert.Len(t, p.asked(), 2)
	})
}

// failure ranges over the events of a server that refuses, and returns the
// error, which must be a *ResponseError.
func failure(t *testing.T, p *peer, opts client.Options) client.ResponseError {
	for _, err := range p.client(opts).Events(t.Context()) {
		if refused, ok := errors.AsType[*client.ResponseError](err); assert.True(t, ok, err) {
			refused.Header.Del("Date")
			return *refused
		}
	}
	return client.ResponseError{}
}

func TestAResponseErrorHoldsTheBeginningOfTheBody(t *testing.T) {
	inBubble(t, "of a short one all", func(t *testing.T) {
		p := serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Reason", "gone")
			w.Header().Set("Content-Type", "text/plain")
			w.WriteHeader(http.StatusGone)
			io.WriteString(w, "no longer here")
		})
		assert.Equal(t, client.ResponseError{
			StatusCode: http.StatusGone,
			Header:     http.Header{"X-Reason": {"gone"}, "Content-Type": {"text/plain"}, "Content-Length": {"14"}},
			Body:       []byte("no longer here"),
		}, failure(t, p, client.Options{}))
	})
	inBubble(t, "of an endless one 4 KiB", func(t *testing.T) {
		p := serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusNotFound)
			for {
				if _, err := io.WriteString(w, "0123456789abcdef"); err != nil {
					return
				}
			}
		})
		assert.Equal(t, strings.Repeat("0123456789abcdef", 256), string(failure(t, p, client.Options{}).Body))
	})
	inBubble(t, "of one that stalls what has come in 3 seconds", func(t *testing.T) {
		p := serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusNotFound)
			io.WriteString(w, "wait")
			http.NewResponseController(w).Flush()
			<-r.Context().Done()
		})
		start := time.Now()
		assert.Equal(t, "wait", string(failure(t, p, client.Options{}).Body))
		assert.Equal(t, 3*time.Second, time.Since(start))
	})
	inBubble(t, "of one that pauses what has come before IdleTimeout", func(t *testing.T) {
		p := serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.WriteHeader(http.StatusNotFound)
			for pause := 200 * time.Millisecond; pause < 2*time.Second; pause *= 2 {
				fmt.Fprintln(w, pause)
				http.NewResponseController(w).Flush()
				time.Sleep(pause)
			}
			<-r.Context().Done()
		})
		start := time.Now()
		body := failure(t, p, client.Options{IdleTimeout: time.Second}).Body
		assert.Equal(t, "200ms\n400ms\n800ms\n1.6s\n", string(body))
		assert.Equal(t, 2400*time.Millisecond, time.Since(start))
	})
}

func TestRetryableDecides(t *testing.T) {
	inBubble(t, "that a 404 may heal", func(t *testing.T) {
		p := serve(t, status(404), whole("data: 1\n\n"))
		opts := client.Options{Retryable: func(error) bool { return true }}
		assert.Equal(t, []string{"retry: client: unexpected status 404 Not Found", "open", `event "": 1`, "retry: EOF"}, consume(t.Context(), p, opts))
	})
	inBubble(t, "that a clean end is the end", func(t *testing.T) {
		p := serve(t, whole("data: 1\n\n"))
		opts := client.Options{Retryable: func(err error) bool { return err != io.EOF }}
		assert.Equal(t, []string{"open", `event "": 1`, "error: client: stream ended: EOF"}, consume(t.Context(), p, opts))
	})
}
