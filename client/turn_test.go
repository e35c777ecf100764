package client_test

import (
	"context"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/fanfare-go/fanfare/client"
)

func TestWhatReconnectEndsIsNoFailedAttempt(t *testing.T) {
	inBubble(t, "before the response", func(t *testing.T) {
		p := serve(t, silence, silence, status(503), status(503), status(503))
		c := p.client(client.Options{MaxAttempts: 2})
		for i := range 2 {
			time.AfterFunc(time.Duration(i+1)*time.Second, c.Reconnect)
		}
		var last error
		for _, err := range c.Events(t.Context()) {
			last = err
		}
		assert.ErrorContains(t, last, "(failed attempts: 2)")
		assert.Len(t, p.asked(), 4)
	})
}

// opaque is a context of somebody else's: package context has a goroutine for
// each that is made from it, until that ends.
type opaque struct{ context.Context }

func (opaque) Value(any) any { return nil }

func TestAttemptsThatAreOverLeaveNothingBehind(t *testing.T) {
	inBubble(t, "refused", func(t *testing.T) {
		p := serve(t)
		for range 100 {
			p.answers = append(p.answers, status(503), whole(""))
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		first := 0
		c := p.client(client.Options{OnRetry: func(error, time.Duration) {
			if first == 0 {
				first = runtime.NumGoroutine()
			}
			assert.LessOrEqual(t, runtime.NumGoroutine(), first+20)
		}})
		for _, err := range c.Events(opaque{ctx}) {
			assert.NoError(t, err)
		}
		assert.Len(t, p.asked(), 201)
	})
}
