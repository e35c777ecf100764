package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/sse"
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

const (
	hello = "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"Hel\"},\"finish_reason\":null}]}\n\n" +
		": a comment\n\n" +
		"data: {\"choices\":[{\"delta\":{\"content\":\"lo\"}}]}\n\n" +
		"data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"
	done = "data: [DONE]\n\n"
)

func TestAnAnswerIsWholeOnceDONEHasCome(t *testing.T) {
	var out strings.Builder
	// What would come after it is not waited for.
	assert.NoError(t, read(io.MultiReader(strings.NewReader(hello+done), broken{}), &out))
	assert.Equal(t, "Hello", out.String())
}

// broken is a reader that nobody should read.
type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("read too far") }

func TestAnAnswerThatIsCutOffIsNotTakenForAWholeOne(t *testing.T) {
	for stream, cause := range map[string]string{
		"":                       "it ended without [DONE]",
		hello:                    "it ended without [DONE]",
		hello + "data: [DO":      "unexpected EOF",
		hello + "data: [DONE]\n": "unexpected EOF",
		strings.Replace(hello, "stop", "length", 1) + done: "it is as long as the model may make it",
	} {
		var out strings.Builder
		err := read(strings.NewReader(stream), &out)
		assert.ErrorIs(t, err, errTruncated)
		assert.ErrorContains(t, err, cause)
		assert.True(t, stream == "" || out.String() == "Hello", "what there is, is there")
	}
}

func TestAConnectionThatBreaksTruncatesTheAnswer(t *testing.T) {
	script := ssetest.NewScript(ssetest.Reply{Body: ssetest.Chunks(hello), End: ssetest.Cut})
	server := serve(t, script)
	var out strings.Builder
	err := ask(t.Context(), http.DefaultTransport, server, "", "toy", "?", &out)
	assert.ErrorIs(t, err, errTruncated)
	assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
	assert.Equal(t, "Hello", out.String())
	assert.Len(t, script.Requests(), 1, "an answer is not asked for twice")
}

func TestTheQuestionIsSentAsSuchAPIsExpectIt(t *testing.T) {
	script := ssetest.NewScript(ssetest.Reply{Body: ssetest.Chunks(hello, done)})
	server := serve(t, script)
	require.NoError(t, ask(t.Context(), http.DefaultTransport, server, "secret", "toy", `why "so"?`, io.Discard))
	asked := script.Requests()[0]
	assert.Equal(t, http.MethodPost, asked.Method)
	assert.Equal(t, "Bearer secret", asked.Header.Get("Authorization"))
	assert.Equal(t, sse.MediaType, asked.Header.Get("Accept"))
	assert.JSONEq(t, `{"model":"toy","messages":[{"role":"user","content":"why \"so\"?"}],"stream":true}`, asked.Body)
}

func TestWhatTheModelSaysIsWrongIsReported(t *testing.T) {
	for want, reply := range map[string]ssetest.Reply{
		"401 Unauthorized: no key": {Status: 401, Body: ssetest.Chunks("no key\n")},
		`no stream, but "application/json": {"error":{"message":"overloaded"}}`: {Header: http.Header{"Content-Type": {"application/json"}}, Body: ssetest.Chunks(`{"error":{"message":"overloaded"}}`)},
		"the server says: overloaded":                                           {Body: ssetest.Chunks(`data: {"error":{"message":"overloaded"}}`, "\n\n")},
		`ssejson: event of type "" with ID "": `:                                {Body: ssetest.Chunks("data: what?\n\n")},
	} {
		server := serve(t, ssetest.NewScript(reply))
		assert.ErrorContains(t, ask(t.Context(), http.DefaultTransport, server, "", "toy", "?", io.Discard), want)
	}
}

func TestAnAnswerEndsWithTheContext(t *testing.T) {
	server := serve(t, ssetest.NewScript(ssetest.Reply{Body: ssetest.Chunks(hello), End: ssetest.Hang}))
	ctx, cancel := context.WithCancel(t.Context())
	assert.ErrorIs(t, ask(ctx, http.DefaultTransport, server, "", "toy", "?", once(cancel)), context.Canceled)
}

// once calls f when something is written.
type once func()

func (f once) Write(p []byte) (int, error) { f(); return len(p), nil }

func TestAServerThatDoesNotBeginToAnswerIsLeft(t *testing.T) {
	server := serve(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body) // or nobody sees the client go
		<-r.Context().Done()
	}))
	via := transport(50 * time.Millisecond)
	defer via.CloseIdleConnections()
	err := ask(t.Context(), via, server, "", "toy", "?", io.Discard)
	assert.ErrorContains(t, err, "timeout awaiting response headers")
}

func TestTheCommandFailsWithHalfAnAnswerThatASignalEnds(t *testing.T) {
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		t.Run(sig.String(), func(t *testing.T) {
			server := serve(t, ssetest.NewScript(ssetest.Reply{Body: ssetest.Chunks(hello), End: ssetest.Hang}))
			cmd := exec.Command(os.Args[0], "-url", server, "hello")
			cmd.Env = append(os.Environ(), "LLM_TEST_COMMAND=1", "GORACE=atexit_sleep_ms=0")
			stderr := new(strings.Builder)
			cmd.Stderr = stderr
			stdout, err := cmd.StdoutPipe()
			require.NoError(t, err)
			require.NoError(t, cmd.Start())
			t.Cleanup(func() { cmd.Process.Kill() })
			half := make([]byte, len("Hello"))
			_, err = io.ReadFull(stdout, half)
			require.NoError(t, err)
			assert.Equal(t, "Hello", string(half))

			require.NoError(t, cmd.Process.Signal(sig))
			var exit *exec.ExitError
			require.ErrorAs(t, cmd.Wait(), &exit)
			assert.Equal(t, 1, exit.ExitCode())
			assert.Contains(t, stderr.String(), "the answer was cut off")
		})
	}
}

// serve serves h on the loopback until the test ends, and returns its URL.
func serve(t *testing.T, h http.Handler) string {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return server.URL
}
