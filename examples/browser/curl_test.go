package browser

import (
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
)

func TestCurlShowsTheStreamAsItIs(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		detach bool
		tls    bool
		args   []string
		header string
	}{
		"over HTTP/1.0": {args: []string{"--http1.0"}, header: "HTTP/1.0 200 OK\n"},
		"over HTTP/1.1": {header: "HTTP/1.1 200 OK\nConnection: close\n"},
		"over HTTP/1.0, detached": {detach: true, args: []string{"--http1.0"},
			header: "HTTP/1.1 200 OK\nConnection: close\n"},
		"over HTTP/1.1, detached": {detach: true, header: "HTTP/1.1 200 OK\nConnection: close\n"},
		"over HTTP/2 without TLS": {args: []string{"--http2-prior-knowledge"}, header: "HTTP/2 200\n"},
		"over HTTP/2 without TLS, detached": {detach: true,
			args: []string{"--http2-prior-knowledge"}, header: "HTTP/2 200\n"},
		"over HTTP/2": {tls: true, args: []string{"--insecure"}, header: "HTTP/2 200\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, broker.Options{Detach: test.detach, Heartbeat: 100 * time.Millisecond}, test.tls)
			first := s.publish(1)[0]
			output := curl(t, append(test.args, "--no-buffer", "--include", s.url()+"/events")...)
			s.awaitSubscribers(1)
			events := s.publish(2)
			time.Sleep(3 * s.opts.Heartbeat)
			s.shutdown()

			header, body, _ := strings.Cut(output(0), "\n\n")
			assert.ElementsMatch(t, append(strings.Split(strings.TrimSpace(test.header), "\n"),
				"Content-Type: text/event-stream", "Cache-Control: no-cache, no-transform", "X-Accel-Buffering: no", "Date: now",
			), strings.Split(header, "\n"))
			blocks := "retry: 100\n\nid: " + first.ID + "\n\n"
			for _, a := range events {
				blocks += "id: " + a.ID + "\nevent: " + a.Type + "\ndata: " + a.Data + "\n\n"
			}
			want := regexp.QuoteMeta(blocks) + `(:\n\n)+retry: \d{4}\n\n`
			assert.Regexp(t, "^"+want+"$", body)
		})
	}
}

func TestCurlResumesWithEitherFormOfTheLastEventID(t *testing.T) {
	t.Parallel()
	s := newSite(t, broker.Options{}, false)
	events := s.publish(3)
	for _, args := range [][]string{
		{"--header", "Last-Event-ID: " + events[0].ID, s.url() + "/events"},
		{s.url() + "/events?lastEventId=" + events[0].ID},
	} {
		output := curl(t, append(args, "--no-buffer", "--max-time", "0.5")...)
		const timedOut = 28
		body := output(timedOut)
		assert.NotContains(t, body, events[0].ID)
		for _, a := range events[1:] {
			assert.Contains(t, body, "id: "+a.ID+"\n")
		}
	}
}

func TestCurlIsRefusedWhatIsNoStream(t *testing.T) {
	t.Parallel()
	for name, detach := range map[string]bool{"attached": false, "detached": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, broker.Options{Detach: detach}, false)
			for _, protocol := range []string{"--http1.1", "--http2-prior-knowledge"} {
				status := regexp.MustCompile(`^HTTP/\S+ (\d+)`)
				ask := func(args ...string) (code int, answer string) {
					answer = curl(t, append(args, protocol, "--include", s.url()+"/events")...)(0)
					match := status.FindStringSubmatch(answer)
					require.NotNil(t, match, answer)
					code, _ = strconv.Atoi(match[1])
					return code, answer
				}
				code, answer := ask("--head")
				assert.Equal(t, 200, code)
				assert.Contains(t, answer, "Content-Type: text/event-stream\n")
				assert.True(t, strings.HasSuffix(answer, "\n\n"), "no body: %q", answer)

				// With a body some versions of curl fail on any HTTP/2 answer
				// that comes before they have sent it.
				code, answer = ask("--request", "POST")
				assert.Equal(t, 405, code)
				assert.Contains(t, answer, "Allow: GET, HEAD\n")

				code, _ = ask("--header", "Accept: application/json")
				assert.Equal(t, 406, code)
			}
			assert.Zero(t, s.broker.Stats().Subscribers)
		})
	}
}

// curl starts curl, and returns a function that waits for its end with this
// exit code and returns what it has printed: with the line ends of this file,
// header names as HTTP/1.1 writes them, and the same date each time.
func curl(t *testing.T, args ...string) (output func(exit int) string) {
	t.Helper()
	cmd := command(t, program(t, "curl", "curl"), append([]string{"--silent", "--show-error", "--noproxy", "*"}, args...)...)
	var stdout strings.Builder
	cmd.Stdout = &stdout
	require.NoError(t, cmd.Start())
	return func(exit int) string {
		t.Helper()
		_ = cmd.Wait()
		assert.Equal(t, exit, cmd.ProcessState.ExitCode())
		text := strings.ReplaceAll(stdout.String(), "\r\n", "\n")
		for _, name := range []string{"Content-Type", "Cache-Control", "X-Accel-Buffering", "Date", "Allow"} {
			text = strings.Replace(text, "\n"+strings.ToLower(name)+": ", "\n"+name+": ", 1)
		}
		text = strings.Replace(text, "HTTP/2 200 \n", "HTTP/2 200\n", 1) // it has no reason phrase
		return regexp.MustCompile(`(?m)^Date: .*GMT$`).ReplaceAllLiteralString(text, "Date: now")
	}
}
