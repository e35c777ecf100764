package ssetest_test

import (
	"fmt"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/sse/ssetest"
)

func eachProtocol(t *testing.T, f func(t *testing.T, p ssetest.Protocol)) {
	for _, p := range ssetest.Protocols {
		t.Run(p.String(), func(t *testing.T) { f(t, p) })
	}
}

func TestServerSpeaksEachProtocolAndOnFakeTime(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p ssetest.Protocol) {
		synctest.Test(t, func(t *testing.T) {
			srv := ssetest.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				for i := range 3 {
					time.Sleep(time.Hour)
					fmt.Fprintf(w, "%s %d\n", r.Proto, i)
					assert.NoError(t, http.NewResponseController(w).Flush())
				}
			}), &ssetest.ServerOptions{Protocol: p})
			start := time.Now()
			res, err := srv.Client().Get(srv.URL)
			require.NoError(t, err)
			defer res.Body.Close()
			body, err := io.ReadAll(res.Body)
			require.NoError(t, err)
			proto := "HTTP/1.1"
			if p == ssetest.HTTP2 || p == ssetest.H2C {
				proto = "HTTP/2.0"
			}
			assert.Equal(t, fmt.Sprintf("%[1]s 0\n%[1]s 1\n%[1]s 2\n", proto), string(body))
			assert.Equal(t, 3*time.Hour, time.Since(start))
		})
	})
}
