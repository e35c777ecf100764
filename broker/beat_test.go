package broker_test

import (
	"bufio"
	"fmt"
	"net/http"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
)

// The shards write the same heartbeat at the same time. Under the race detector
// this is also a test that they share nothing that one of them changes.
func TestHeartbeatsOfAllShardsCarryTheNewestID(t *testing.T) {
	b := newBroker(t, &broker.Options{Detach: true, Heartbeat: 4 * time.Millisecond, Store: namedStore(nil)})
	srv := loopback(t, b)
	publish(t, b, 1, 1, "quiet")
	var streams []*bufio.Scanner
	for range 4 * runtime.GOMAXPROCS(0) {
		resp, err := (&http.Client{Transport: srv.NewTransport()}).Get(srv.URL)
		require.NoError(t, err)
		defer resp.Body.Close()
		streams = append(streams, bufio.NewScanner(resp.Body))
	}
	for i := 2; i <= 20; i++ {
		publish(t, b, i, i, "quiet")
		for _, lines := range streams {
			want := fmt.Sprint("id: ", i)
			for lines.Text() != want {
				require.True(t, lines.Scan(), lines.Err())
				require.Contains(t, []string{":", "", fmt.Sprint("id: ", i-1), want}, lines.Text())
			}
		}
	}
}

func TestAHeartbeatRepeatsNoIDThatTheShardHasWritten(t *testing.T) {
	b := newBroker(t, &broker.Options{Detach: true, Heartbeat: 4 * time.Millisecond, Store: namedStore(nil)})
	srv := loopback(t, b)
	resp, err := srv.Client().Get(srv.URL)
	require.NoError(t, err)
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for i := 1; i <= 20; i++ {
		publish(t, b, i, i)
		seen := 0
		for beats := 0; beats < 2; {
			require.True(t, lines.Scan(), lines.Err())
			switch {
			case lines.Text() == fmt.Sprint("id: ", i):
				seen++
				require.Equal(t, 1, seen)
			case lines.Text() == ":" && seen > 0:
				beats++
			}
		}
	}
}
