package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/client"
	"github.com/fanfare-go/fanfare/sse"
	"github.com/fanfare-go/fanfare/sse/ssejson"
	"github.com/fanfare-go/fanfare/sse/ssetest"
)

// TestMain is the command itself in the processes that a test starts.
func TestMain(m *testing.M) {
	if os.Getenv("CHAT_TEST_COMMAND") != "" {
		main()
		return
	}
	ssetest.Main(m)
}

func TestEveryTabGetsEveryLineInTheSameOrderThoughConnectionsBreak(t *testing.T) {
	const tabs, lines = 4, 200 // within what is held
	server, _ := start(t)
	faults := ssetest.NewFaults(t, &ssetest.FaultOptions{
		Kinds:    []ssetest.Fault{ssetest.FaultCut, ssetest.FaultReset},
		MaxBytes: 4000,
	})
	proxy := faults.Proxy(server, nil)
	var all sync.WaitGroup
	var got [tabs][]string
	for i := range tabs {
		var c *client.Client
		entered := make(chan struct{})
		c = client.New("http://"+proxy.Addr+"/events", &client.Options{
			OnRetry: func(error, time.Duration) { c.Reconnect() }, // at once, without the wait
		})
		all.Go(func() {
			for said, err := range ssejson.Values[line](c.Events(t.Context())) {
				if !assert.NoError(t, err) {
					return
				}
				if said.Text == "welcome" {
					close(entered)
					continue
				}
				if got[i] = append(got[i], said.Name+": "+said.Text); len(got[i]) == lines {
					return
				}
			}
		})
		if i == 0 {
			require.Equal(t, http.StatusNoContent, post(t, server, `{"name":"host","text":"welcome"}`))
		}
		<-entered
	}
	var speakers sync.WaitGroup
	for _, name := range []string{"Ada", "Bob"} {
		speakers.Go(func() {
			for n := range lines / 2 {
				post(t, server, fmt.Sprintf(`{"name":%q,"text":"%d"}`, name, n))
			}
		})
	}
	speakers.Wait()
	all.Wait()
	require.Len(t, got[0], lines)
	for i := range got {
		assert.Equal(t, got[0], got[i])
	}
	next := map[string]int{}
	for _, said := range got[0] {
		name, n, _ := strings.Cut(said, ": ")
		assert.Equal(t, fmt.Sprint(next[name]), n)
		next[name]++
	}
	assert.Greater(t, faults.Count(), tabs)
}

func TestANewcomerIsShownTheLatestLinesAndThenWhatIsSaid(t *testing.T) {
	server, _ := start(t)
	for n := range recent + 10 {
		post(t, server, fmt.Sprintf(`{"name":"Ada","text":"%d"}`, n))
	}
	want := 10
	for said, err := range ssejson.Values[line](client.New("http://"+server+"/events", nil).Events(t.Context())) {
		require.NoError(t, err)
		require.Equal(t, fmt.Sprint(want), said.Text)
		assert.WithinDuration(t, time.Now(), said.At, time.Minute)
		if want++; want == recent+10 {
			post(t, server, fmt.Sprintf(`{"name":"Ada","text":"%d"}`, want))
		}
		if want > recent+10 {
			break
		}
	}
}

func TestAPageThatWakesUpGoesOnByTheIDInItsAddress(t *testing.T) {
	server, _ := start(t)
	post(t, server, `{"name":"Ada","text":"before"}`)
	before := first(t, "http://"+server+"/events")
	post(t, server, `{"name":"Ada","text":"meanwhile"}`)
	meanwhile := first(t, "http://"+server+"/events?lastEventId="+before.ID)
	assert.Contains(t, meanwhile.Data, `"text":"meanwhile"`)
}

func TestAPageThatOutlivesTheServerIsToldOfTheGap(t *testing.T) {
	server, _ := start(t)
	assert.Equal(t, "gap", first(t, "http://"+server+"/events?lastEventId=of-another-life").Type)
}

func TestWhatIsNoLineIsRefused(t *testing.T) {
	server, _ := start(t)
	long := strings.Repeat("x", 2001)
	for _, body := range []string{
		``, `hello`, `[]`, `{"name":"Ada","text":"hello"} and more`, `{"name":"Ada"}`, `{"text":"hello"}`, `{"name":" ","text":"hello"}`, `{"name":"Ada","text":"\n"}`,
		`{"name":"Ada","text":"` + long + `"}`, `{"name":"` + long[:41] + `","text":"hello"}`,
		strings.Repeat(" ", 16<<10) + `{"name":"Ada","text":"hello"}`,
	} {
		assert.Equal(t, http.StatusBadRequest, post(t, server, body), "%.50s", body)
	}
	require.Equal(t, http.StatusNoContent, post(t, server, `{"name":"Ada","text":"`+strings.Repeat("ü", 2000)+`"}`))
	assert.Contains(t, first(t, "http://"+server+"/events").Data, "ü", "nothing else was published")
}

// full is a Store that takes nothing.
type full struct{ broker.Store }

func (full) Append(context.Context, sse.Event, []string) (string, error) {
	return "", errors.New("no space left on sda1")
}

func TestALineThatIsNotPublishedIsNotTakenForTheEndOfTheRoom(t *testing.T) {
	var journal strings.Builder
	log.SetOutput(&journal)
	defer log.SetOutput(os.Stderr)
	room := broker.New(&broker.Options{Store: full{broker.Discard}})
	answer := func() (int, string) {
		rec := httptest.NewRecorder()
		said := strings.NewReader(`{"name":"Ada","text":"hello"}`)
		routes(room).ServeHTTP(rec, httptest.NewRequest(http.MethodPost, "/lines", said))
		return rec.Code, rec.Body.String()
	}
	code, body := answer()
	assert.Equal(t, http.StatusInternalServerError, code)
	assert.Equal(t, "that did not work\n", body, "nothing of why")
	assert.Regexp(t, `^\S+ \S+ a line was not published: .*no space left on sda1\n$`, journal.String())

	journal.Reset()
	require.NoError(t, room.Close())
	code, body = answer()
	assert.Equal(t, http.StatusServiceUnavailable, code)
	assert.Equal(t, "the room is closing\n", body)
	assert.Empty(t, journal.String())
}

func TestTheCommandPrintsAnAddressToConnectTo(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	for addr, want := range map[string]string{
		"localhost:0": "localhost:" + port,
		"127.0.0.1:0": "127.0.0.1:" + port,
		":0":          "localhost:" + port,
		"[::]:0":      "localhost:" + port,
		"[::1]:0":     "[::1]:" + port,
	} {
		assert.Equal(t, want, address(ln, addr), addr)
	}
}

func TestAnotherSitesPageCannotSpeak(t *testing.T) {
	server, _ := start(t)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+server+"/lines",
		strings.NewReader(`{"name":"Ada","text":"hello"}`))
	require.NoError(t, err)
	req.Header.Set("Sec-Fetch-Site", "cross-site")
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	resp.Body.Close()
	assert.Equal(t, http.StatusForbidden, resp.StatusCode)
}

func TestThePageFollowsTheStream(t *testing.T) {
	server, _ := start(t)
	resp, err := http.Get("http://" + server + "/")
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	assert.Equal(t, "text/html; charset=utf-8", resp.Header.Get("Content-Type"))
	assert.Contains(t, resp.Header.Get("Content-Security-Policy"), "default-src 'none'; connect-src 'self'")
	assert.Contains(t, resp.Header.Get("Content-Security-Policy"), "frame-ancestors 'none'")
	assert.Contains(t, string(body), `new EventSource("/events"`)
}

func TestTheEndOfTheServerEndsStreamsCleanly(t *testing.T) {
	server, stop := start(t)
	resp, err := http.Get("http://" + server + "/events")
	require.NoError(t, err)
	defer resp.Body.Close()
	assert.NoError(t, stop())
	_, err = io.Copy(io.Discard, resp.Body)
	assert.NoError(t, err)
}

func TestTheCommandEndsOnSignals(t *testing.T) {
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		t.Run(sig.String(), func(t *testing.T) {
			cmd := exec.Command(os.Args[0], "-addr", "127.0.0.1:0")
			cmd.Env = append(os.Environ(), "CHAT_TEST_COMMAND=1", "GORACE=atexit_sleep_ms=0")
			stdout, err := cmd.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, cmd.Start())
			t.Cleanup(func() { cmd.Process.Kill() })
			resp, err := http.Get("http://" + addressFrom(t, stdout) + "/events")
			require.NoError(t, err)
			defer resp.Body.Close()

			require.NoError(t, cmd.Process.Signal(sig))
			_, err = io.Copy(io.Discard, resp.Body)
			assert.NoError(t, err)
			assert.NoError(t, cmd.Wait())
		})
	}
}

// start runs a server, and returns its address and a function that ends it.
func start(t *testing.T) (addr string, stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- run(ctx, "127.0.0.1:0", w) }()
	stop = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() { assert.NoError(t, stop()) })
	return addressFrom(t, r), stop
}

// addressFrom reads the address from what the command prints.
func addressFrom(t *testing.T, stdout io.Reader) string {
	t.Helper()
	line, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err)
	match := regexp.MustCompile(`^The room is open at http://([^/]+)/\. Ctrl-C ends it\.\n$`).FindStringSubmatch(line)
	require.NotNil(t, match, line)
	return match[1]
}

// post says something, and returns the status of the answer.
func post(t *testing.T, server, body string) int {
	t.Helper()
	resp, err := http.Post("http://"+server+"/lines", "application/json", strings.NewReader(body))
	if !assert.NoError(t, err) {
		return 0
	}
	resp.Body.Close()
	return resp.StatusCode
}

// first returns the first event of a stream.
func first(t *testing.T, url string) sse.Event {
	t.Helper()
	for ev, err := range client.New(url, nil).Events(t.Context()) {
		require.NoError(t, err)
		return ev
	}
	require.Fail(t, "no event")
	return sse.Event{}
}
