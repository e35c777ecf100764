package broker_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/sse/ssetest"
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

func TestAHeartbeatIsCountedWhenItIsWritten(t *testing.T) {
	b := newBroker(t, &broker.Options{Detach: true, Heartbeat: time.Second, Store: broker.Discard})
	srv := loopback(t, b)
	resp, err := srv.Client().Get(srv.URL)
	require.NoError(t, err)
	defer resp.Body.Close()
	_, err = io.ReadFull(resp.Body, make([]byte, len(":\n\n")))
	require.NoError(t, err)
	require.Eventually(t, func() bool { return b.Stats().Bytes > 0 }, time.Second/2, time.Millisecond)
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

func TestHeartbeatsOfEachStreamAreOnTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const interval = 10 * time.Second
		b := newShard(t, &broker.Options{Store: broker.Discard, Heartbeat: interval})
		for range 2 { // the second time nobody has been there for long
			var peers []*peer
			var began []time.Time
			for range 3 {
				peers, began = append(peers, newPeer(t, b, "")), append(began, time.Now())
				time.Sleep(3 * time.Second)
			}
			for beat := 1; beat < 5; beat++ {
				for i, p := range peers {
					at := began[i].Add(time.Duration(beat) * interval)
					time.Sleep(time.Until(at) - 1)
					synctest.Wait()
					require.Less(t, p.last().at, at)
					time.Sleep(time.Nanosecond)
					synctest.Wait()
					require.Equal(t, write{":\n\n", at, true}, p.last())
				}
			}
			for _, p := range peers {
				p.Close()
			}
			time.Sleep(3 * interval)
		}
	})
}

func TestAStreamHasHeartbeatsOnceItIsIdleAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const interval = 10 * time.Second
		b := newShard(t, &broker.Options{Store: broker.Discard, Heartbeat: interval, WriteTimeout: time.Hour})
		p := newPeer(t, b, "")
		free := p.stick()
		publish(t, b, 1, 1)
		time.Sleep(5*interval + 1) // no heartbeat is due, as it has not taken the event
		free()
		require.Equal(t, "data: 1\n\n", p.last().text)
		time.Sleep(interval)
		synctest.Wait()
		beat := p.last()
		require.Equal(t, ":\n\n", beat.text)
		require.LessOrEqual(t, time.Since(beat.at), interval/8)
	})
}

func TestALoopOverEventsHasNoHeartbeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newShard(t, &broker.Options{Heartbeat: time.Second})
		p := newPeer(t, b, "") // so that there are some
		sub, err := b.Subscribe()
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for _, err := range sub.Events(ctx) {
			require.ErrorIs(t, err, context.DeadlineExceeded)
		}
		synctest.Wait()
		require.Equal(t, ":\n\n", p.last().text)
		require.Equal(t, time.Now(), p.last().at)
	})
}

func TestAHeartbeatOfNanosecondsIsOneOfAMillisecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(t, &broker.Options{Heartbeat: 1})
		s := ssetest.Record(t, b, ssetest.NewRequest("/", ""))
		time.Sleep(10 * time.Millisecond)
		synctest.Wait()
		n := strings.Count(s.Body(), ":\n\n")
		assert.True(t, 5 <= n && n <= 10, "%d heartbeats in 10 ms", n)
	})
}
