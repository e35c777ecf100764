package main

import (
	"context"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/client"
	"github.com/fanfare-go/fanfare/sse"
	"github.com/fanfare-go/fanfare/sse/ssetest"
)

// patience is how long anything may take. It is for a machine that is busy;
// nothing here waits for it to pass.
const patience = 30 * time.Second

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "-"+nodeFlag {
		main() // the test has started this as a node
		return
	}
	ssetest.Main(m)
}

// start starts the command, and returns the URL of its page and a function that
// ends it.
func start(t *testing.T, s settings) (url string, end func()) {
	t.Helper()
	s.addr = "127.0.0.1:0"
	ctx, cancel := context.WithCancel(context.Background())
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := run(ctx, s, w)
		w.CloseWithError(io.EOF)
		done <- err
	}()
	words := make([]byte, 200)
	n, err := r.Read(words)
	require.NoError(t, err)
	_, url, ok := strings.Cut(string(words[:n]), "Counting at ")
	require.True(t, ok, string(words[:n]))
	url, _, _ = strings.Cut(url, ",")
	end = func() {
		cancel()
		if done != nil {
			assert.NoError(t, <-done)
		}
		done = nil
	}
	t.Cleanup(end)
	return url, end
}

// A watcher reads the numbers of a command's page as the page does.
type watcher struct {
	t    *testing.T
	node string // that serves it
	last int
	id   string
}

// watch reads on until a condition holds that is asked after each event. Every
// number must be the next.
func (w *watcher) watch(url string, until func() bool) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	c := client.New(url+"events", &client.Options{LastEventID: w.id, MinBackoff: -1, HTTPClient: &http.Client{Transport: transport(w.t)}})
	for ev, err := range c.Events(ctx) {
		require.NoError(w.t, err)
		switch ev.Type {
		case "node":
			w.node = ev.Data
		case "":
			n, err := strconv.Atoi(ev.Data)
			require.NoError(w.t, err)
			if w.last > 0 {
				require.Equal(w.t, w.last+1, n)
			}
			w.last, w.id = n, ev.ID
		default:
			require.Fail(w.t, "it gets an event of the type "+ev.Type)
		}
		if until() {
			return
		}
	}
}

// transport returns one whose connections end with the test.
func transport(t *testing.T) *http.Transport {
	tr := &http.Transport{DisableKeepAlives: true}
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

// post does what a button of the page does.
func post(t *testing.T, url, origin string) (status int) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, nil)
	require.NoError(t, err)
	r.Header.Set("Origin", origin)
	resp, err := (&http.Client{Transport: transport(t)}).Do(r)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return resp.StatusCode
}

func TestTheNumberGoesOnWithoutAHoleWhenItsNodeIsKilled(t *testing.T) {
	t.Parallel()
	url, _ := start(t, settings{interval: 5 * time.Millisecond})
	w := &watcher{t: t}
	w.watch(url, func() bool { return w.last >= 20 })
	for range 3 {
		killed, at := "", w.last
		w.watch(url, func() bool {
			if killed == "" && w.last >= at+20 {
				killed = w.node
				require.Equal(t, http.StatusNoContent, post(t, url+"parts/"+killed+"/kill", strings.TrimSuffix(url, "/")))
			}
			return killed != "" && w.node != killed && w.last >= at+200
		})
		require.Equal(t, http.StatusNoContent, post(t, url+"parts/"+killed+"/start", strings.TrimSuffix(url, "/")))
	}
	nodes := make(map[string]bool)
	for len(nodes) < 3 {
		w.watch(url, func() bool { nodes[w.node] = true; return true })
	}
}

func TestTheCountGoesOnAfterARestartWithTheSameFolder(t *testing.T) {
	t.Parallel()
	s := settings{interval: 5 * time.Millisecond, data: t.TempDir()}
	url, end := start(t, s)
	w := &watcher{t: t}
	w.watch(url, func() bool { return w.last >= 20 })
	end()
	url, _ = start(t, s)
	w.watch(url, func() bool { return w.last >= 100 })
}

func TestThePageShowsTheParts(t *testing.T) {
	t.Parallel()
	url, _ := start(t, settings{interval: time.Second})
	resp, err := (&http.Client{Transport: transport(t)}).Get(url)
	require.NoError(t, err)
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	assert.Equal(t, page, body)

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var got []sse.Event
	c := client.New(url+"parts", &client.Options{HTTPClient: &http.Client{Transport: transport(t)}})
	for ev, err := range c.Events(ctx) {
		require.NoError(t, err)
		if got = append(got, ev); len(got) == 2 {
			break
		}
		require.Equal(t, http.StatusNoContent, post(t, url+"parts/2/kill", ""))
	}
	assert.Equal(t, "parts", got[0].Type)
	assert.Contains(t, got[0].Data, `"name":"engine","up":true`)
	assert.Contains(t, got[0].Data, `"name":"2","up":true`)
	assert.Contains(t, got[1].Data, `"name":"2","up":false`)
}

func TestPagesOfOtherSitesKillNothing(t *testing.T) {
	t.Parallel()
	url, _ := start(t, settings{interval: time.Second})
	assert.Equal(t, http.StatusForbidden, post(t, url+"parts/1/kill", "https://elsewhere.example"))
	assert.Equal(t, http.StatusNotFound, post(t, url+"parts/4/kill", ""))
}

func TestWithoutANodeAStreamEndsInOrderForEventSourceToComeBack(t *testing.T) {
	t.Parallel()
	url, _ := start(t, settings{interval: time.Second})
	for _, name := range []string{"1", "2", "3"} {
		require.Equal(t, http.StatusNoContent, post(t, url+"parts/"+name+"/kill", ""))
	}
	resp, err := (&http.Client{Transport: transport(t)}).Get(url + "events")
	require.NoError(t, err)
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	assert.Equal(t, http.StatusOK, resp.StatusCode)
	assert.Equal(t, sse.MediaType, resp.Header.Get("Content-Type"))
	assert.Equal(t, "retry: 1000\n\n", string(body))
}
