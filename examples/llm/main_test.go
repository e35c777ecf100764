package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/sse"
	"github.com/fanfare-go/fanfare/sse/ssejson"
	"github.com/fanfare-go/fanfare/sse/ssetest"
)

// TestMain is the command itself in the processes that a test starts.
func TestMain(m *testing.M) {
	if os.Getenv("LLM_TEST_COMMAND") != "" {
		main()
		return
	}
	ssetest.Main(m)
}

func TestAnAnswerComesTokenByTokenAndEndsWithDONE(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var journal strings.Builder
		server := ssetest.Serve(t, handler(&journal), nil)
		resp := ask(t, server.Client(), server.URL, `why?`)
		began, tokens, text := time.Now(), 0, ""
		var last []string
		for ev, err := range sse.Events(resp.Body) {
			require.NoError(t, err)
			if last = append(last, ev.Data); ev.Data == "[DONE]" {
				break
			}
			part, err := ssejson.Value[chunk](ev)
			require.NoError(t, err)
			if token := part.Choices[0].Delta.Content; token != "" {
				text += token
				tokens++
				require.Equal(t, time.Duration(tokens)*time.Second, time.Since(began), "when it was made, not later")
			}
		}
		assert.Equal(t, fmt.Sprintf(wisdom, "why?"), text)
		assert.Equal(t, []string{`{"choices":[{"delta":{},"finish_reason":"stop"}]}`, "[DONE]"}, last[len(last)-2:])
		server.Close()
		synctest.Wait() // for the handler's last word
		assert.Equal(t, fmt.Sprintf("Answered with %d tokens.\n", tokens), journal.String())
	})
}

func TestTheGeneratorStopsWhenTheClientGoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var journal strings.Builder
		server := ssetest.Serve(t, handler(&journal), nil)
		resp := ask(t, server.Client(), server.URL, "why?")
		began, tokens := time.Now(), 0
		for range sse.Events(resp.Body) {
			if tokens++; tokens == 3 {
				resp.Body.Close()
				break
			}
		}
		synctest.Wait()
		assert.Equal(t, "The client left after 3 tokens.\n", journal.String())
		assert.Equal(t, 3*time.Second, time.Since(began))
	})
}

func TestAnAnswerWhoseModelFailsEndsWithAnErrorAndWithoutDONE(t *testing.T) {
	fails := func(context.Context, string) iter.Seq2[string, error] {
		return func(yield func(string, error) bool) {
			_ = yield("Well,", nil) && yield("", errors.New("out of memory at 10.0.0.7"))
		}
	}
	synctest.Test(t, func(t *testing.T) {
		var journal strings.Builder
		server := ssetest.Serve(t, routes(fails, log.New(&journal, "", 0)), nil)
		body, err := io.ReadAll(ask(t, server.Client(), server.URL, "why?").Body)
		assert.NoError(t, err)
		assert.Equal(t, `data: {"choices":[{"delta":{"content":"Well,"},"finish_reason":null}]}`+"\n\n"+
			`data: {"error":{"message":"the model failed"}}`+"\n\n", string(body))
		assert.Equal(t, "The model failed after 1 tokens: out of memory at 10.0.0.7\n", journal.String())
	})
}

// handler answers with a token a second.
func handler(journal io.Writer) http.Handler {
	return routes(toy(time.Second), log.New(journal, "", 0))
}

func TestWhatIsNoQuestionIsRefused(t *testing.T) {
	server, _ := start(t, time.Millisecond)
	for _, body := range []string{``, `why?`, `{}`, `{"messages":[]}`, `{"messages":"why?"}`} {
		resp, err := http.Post("http://"+server+"/v1/chat/completions", "application/json", strings.NewReader(body))
		require.NoError(t, err)
		resp.Body.Close()
		assert.Equal(t, http.StatusBadRequest, resp.StatusCode, body)
	}
}

func TestAnotherSitesPageCannotAsk(t *testing.T) {
	rec := ssetest.Record(t, handler(io.Discard), func() *http.Request {
		r := ssetest.NewRequest("/v1/chat/completions", "")
		r.Method = http.MethodPost
		r.Header.Set("Sec-Fetch-Site", "cross-site")
		return r
	}())
	assert.Equal(t, http.StatusForbidden, rec.Code())
}

func TestAnAnswerUnderWayIsFinishedBeforeTheServerEnds(t *testing.T) {
	server, stop := start(t, time.Millisecond)
	resp := ask(t, http.DefaultClient, "http://"+server, "why?")
	ended := make(chan error, 1)
	go func() { ended <- stop() }()
	body, err := io.ReadAll(resp.Body)
	assert.NoError(t, err)
	assert.Regexp(t, `data: \[DONE\]\n\n$`, string(body))
	assert.NoError(t, <-ended)
}

func TestAnAnswerThatTakesTooLongIsCutOff(t *testing.T) {
	t.Parallel()
	server, stop := start(t, time.Hour)
	resp := ask(t, http.DefaultClient, "http://"+server, "why?")
	began := time.Now()
	assert.NoError(t, stop())
	assert.Less(t, time.Since(began), grace+time.Second)
	_, err := io.ReadAll(resp.Body)
	assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
}

func TestThePageAsksWhereTheServerAnswers(t *testing.T) {
	server, _ := start(t, time.Millisecond)
	resp, err := http.Get("http://" + server + "/")
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	assert.Equal(t, "text/html; charset=utf-8", resp.Header.Get("Content-Type"))
	assert.Contains(t, resp.Header.Get("Content-Security-Policy"), "default-src 'none'; connect-src 'self'")
	assert.Contains(t, resp.Header.Get("Content-Security-Policy"), "frame-ancestors 'none'")
	assert.Contains(t, string(body), `fetch("/v1/chat/completions"`)
}

func TestTheCommandEndsOnSignals(t *testing.T) {
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		t.Run(sig.String(), func(t *testing.T) {
			cmd := exec.Command(os.Args[0], "-addr", "127.0.0.1:0", "-pace", "1ms")
			cmd.Env = append(os.Environ(), "LLM_TEST_COMMAND=1", "GORACE=atexit_sleep_ms=0")
			stdout, err := cmd.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, cmd.Start())
			t.Cleanup(func() { cmd.Process.Kill() })
			resp := ask(t, http.DefaultClient, "http://"+addressFrom(t, stdout), "why?")
			require.NoError(t, cmd.Process.Signal(sig))
			_, err = io.Copy(io.Discard, resp.Body)
			assert.NoError(t, err)
			assert.NoError(t, cmd.Wait())
		})
	}
}

// ask asks, and returns the response once it has begun.
func ask(t *testing.T, client *http.Client, server, prompt string) *http.Response {
	t.Helper()
	resp, err := client.Post(server+"/v1/chat/completions", "application/json",
		strings.NewReader(fmt.Sprintf(`{"messages":[{"role":"system","content":"be brief"},{"role":"user","content":%q}]}`, prompt)))
	require.NoError(t, err)
	t.Cleanup(func() { resp.Body.Close() })
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.Equal(t, sse.MediaType, resp.Header.Get("Content-Type"))
	return resp
}

// start runs a server, and returns its address and a function that ends it.
func start(t *testing.T, pace time.Duration) (addr string, stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r, w := io.Pipe()
	done := make(chan error, 1)
	go func() {
		err := run(ctx, "127.0.0.1:0", pace, w)
		w.Close()
		done <- err
	}()
	stop = sync.OnceValue(func() error { cancel(); return <-done })
	t.Cleanup(func() { assert.NoError(t, stop()) })
	return addressFrom(t, r), stop
}

// addressFrom reads the address from what the command prints, and goes on
// reading, so that nobody waits to print.
func addressFrom(t *testing.T, stdout io.Reader) string {
	t.Helper()
	lines := bufio.NewReader(stdout)
	line, err := lines.ReadString('\n')
	require.NoError(t, err)
	match := regexp.MustCompile(`^Answering at http://([^/]+)/\. Ctrl-C ends it\.\n$`).FindStringSubmatch(line)
	require.NotNil(t, match, line)
	go io.Copy(io.Discard, lines)
	return match[1]
}
