package ssetest_test

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/sse"
	"github.com/fanfare-go/fanfare/sse/ssetest"
)

// The first test of the package's documentation, and the handler that it tests.

func TestATickIsSentEveryMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		rec := ssetest.Record(t, http.HandlerFunc(ticks), nil)
		for ev, err := range rec.Events() {
			require.NoError(t, err)
			assert.Equal(t, sse.Event{Data: "tick"}, ev)
			assert.Equal(t, time.Minute, time.Since(began))
			break // the end of the test is the client going away
		}
	})
}

func ticks(w http.ResponseWriter, r *http.Request) {
	stream, err := sse.NewWriter(w, r, nil)
	for err == nil {
		select {
		case <-time.After(time.Minute):
			err = stream.Send(sse.Event{Data: "tick"})
		case <-r.Context().Done():
			return
		}
	}
}
