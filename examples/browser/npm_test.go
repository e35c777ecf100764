package browser

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
)

func TestThePackageEventsourceGetsEveryEventOnceThoughServersComeAndGo(t *testing.T) {
	t.Parallel()
	follow := install(t)
	for name, detach := range map[string]bool{"attached": false, "detached": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, broker.Options{Detach: detach}, false)
			arrivals := follow(t, s.url()+"/events")
			s.awaitSubscribers(1)
			for range 3 {
				want := s.publish(50)
				for i := range want {
					require.Equal(t, want[i], next(t, arrivals))
				}
				s.crash()
				require.Equal(t, failed(connecting), next(t, arrivals))
				missed := s.publish(50)
				s.start()
				missed = append(missed, s.publish(50)...)
				for i := range missed {
					require.Equal(t, missed[i], skip(t, failed(connecting), arrivals))
				}
				cursors := s.requests()
				assert.Equal(t, want[49].ID, cursors[len(cursors)-1])
			}
		})
	}
	t.Run("and is told of the gap when the history is lost", func(t *testing.T) {
		t.Parallel()
		s := newSite(t, broker.Options{}, false)
		arrivals := follow(t, s.url()+"/events")
		s.awaitSubscribers(1)
		require.Equal(t, s.publish(1)[0], next(t, arrivals))
		s.crash()
		s.opts.Store = broker.NewMemoryStore(nil)
		// Unlike browsers it shows the ID of the block, not that of the stream.
		want := append([]arrival{gap("")}, s.publish(3)...)
		s.start()
		want = append(want, s.publish(3)...)
		for i := range want {
			assert.Equal(t, want[i], skip(t, failed(connecting), arrivals))
		}
	})
	t.Run("but has no cursor before its first event", func(t *testing.T) {
		// Its parser drops blocks that only set the ID, which browsers do not.
		// So it comes back as somebody new, and a page that must not miss
		// anything then needs a Snapshot or a Backlog.
		t.Parallel()
		s := newSite(t, broker.Options{Backlog: 1}, false)
		arrivals := follow(t, s.url()+"/events")
		s.awaitSubscribers(1)
		s.crash()
		missed := s.publish(3)
		s.start()
		assert.Equal(t, missed[2], skip(t, failed(connecting), arrivals))
		assert.Equal(t, []string{"", ""}, s.requests())
	})
	t.Run("and gives up on another status", func(t *testing.T) {
		t.Parallel()
		s := newSite(t, broker.Options{}, false)
		arrivals := follow(t, s.url()+"/events")
		s.awaitSubscribers(1)
		s.crash()
		s.serve(http.NotFoundHandler())
		assert.Equal(t, failed(closed), skip(t, failed(connecting), arrivals))
	})
}

// install installs the package in a temporary folder, and returns a function
// that starts it on a URL and returns what it gets.
func install(t *testing.T) (follow func(t *testing.T, url string) <-chan arrival) {
	t.Helper()
	npm, node := program(t, "npm", "npm"), program(t, "node", "nodejs")
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS(filepath.Join("testdata", "npm"))))
	cmd := command(t, npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)

	return func(t *testing.T, url string) <-chan arrival {
		t.Helper()
		cmd := command(t, node, filepath.Join(dir, "follow.mjs"), url)
		cmd.Stderr = os.Stderr
		stdout, err := cmd.StdoutPipe()
		require.NoError(t, err)
		arrivals, read := make(chan arrival, 1000), make(chan struct{})
		go func() {
			defer close(read)
			defer close(arrivals)
			for lines := json.NewDecoder(stdout); ; {
				var a arrival
				if lines.Decode(&a) != nil {
					return // it has ended
				}
				arrivals <- a
			}
		}()
		t.Cleanup(func() { <-read })
		start(t, cmd)
		return arrivals
	}
}

// failed is what follow.mjs prints for an error event.
func failed(state int) arrival { return arrival{Type: "error", Data: strconv.Itoa(state)} }

// skip returns the first arrival that is not this one: an attempt may fail any
// number of times before there is a server again.
func skip(t *testing.T, this arrival, arrivals <-chan arrival) arrival {
	t.Helper()
	for {
		if a := next(t, arrivals); a != this {
			return a
		}
	}
}
