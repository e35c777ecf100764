package ssetest_test

import (
	"context"
	"net/http"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/sse"
	"github.com/fanfare-go/fanfare/sse/ssetest"
)

// TestAStreamSurvivesEveryFaultWhenItIsResumed is what the package is for: a
// simple client that resumes gets every event, whatever is done to it.
func TestAStreamSurvivesEveryFaultWhenItIsResumed(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p ssetest.Protocol) {
		synctest.Test(t, func(t *testing.T) {
			srv := ssetest.Serve(t, http.HandlerFunc(ticker), &ssetest.ServerOptions{Protocol: p})
			opts := &ssetest.FaultOptions{Seed: 42, MaxBytes: 1 << 10}
			if p == ssetest.HTTP1TLS || p == ssetest.HTTP2 {
				opts.MaxBytes = 6 << 10 // a handshake takes more than 1 KiB
			}
			f := ssetest.NewFaults(t, opts)
			count(t, srv, f, srv.URL, 1000)
			t.Log(f)
			for k := ssetest.FaultCut; k <= ssetest.FaultGarbage; k++ {
				assert.Positive(t, f.Count(k), "%v of %v", k, f)
			}
		})
	})
}

// count reads the numbers 1 to n from the ticker at url, through f.
func count(t *testing.T, srv *ssetest.Server, f *ssetest.Faults, url string, n int) {
	last := 0
	for last < n {
		tr := srv.NewTransport()
		tr.DialContext = f.Dialer(tr.DialContext)
		func() {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			defer tr.CloseIdleConnections()
			idle := time.AfterFunc(time.Hour, cancel) // a half-close looks like a stall
			defer idle.Stop()
			req, _ := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
			req.Header.Set("Last-Event-ID", strconv.Itoa(last))
			res, err := tr.RoundTrip(req)
			if err != nil {
				return
			}
			defer res.Body.Close()
			for ev, err := range sse.Events(res.Body) {
				if err != nil || last == n {
					break
				}
				last++
				require.Equal(t, sse.Event{ID: strconv.Itoa(last), Data: "tick"}, ev)
				idle.Reset(time.Hour)
			}
		}()
	}
}
