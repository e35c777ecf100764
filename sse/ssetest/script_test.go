package ssetest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/sse"
	"github.com/fanfare-go/fanfare/sse/ssetest"
)

func TestAScriptSendsExactChunksAtExactTimes(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p ssetest.Protocol) {
		synctest.Test(t, func(t *testing.T) {
			srv := ssetest.Serve(t, ssetest.NewScript(ssetest.Reply{
				Delay:  time.Second,
				Header: http.Header{"X-Own": {"a", "b"}},
				Body:   []ssetest.Chunk{{0, "data: o"}, {time.Minute, "ne\n"}, {time.Hour, "\n"}},
			}), &ssetest.ServerOptions{Protocol: p})
			start := time.Now()
			res, err := srv.Client().Get(srv.URL)
			require.NoError(t, err)
			defer res.Body.Close()
			assert.Equal(t, 200, res.StatusCode)
			assert.Equal(t, sse.MediaType, res.Header.Get("Content-Type"))
			assert.Equal(t, []string{"a", "b"}, res.Header.Values("X-Own"))
			var got []string
			for {
				b := make([]byte, 100)
				n, err := res.Body.Read(b)
				if n > 0 {
					got = append(got, fmt.Sprintf("%v %q", time.Since(start), b[:n]))
				}
				if err != nil {
					assert.Equal(t, io.EOF, err)
					break
				}
			}
			assert.Equal(t, []string{`1s "data: o"`, `1m1s "ne\n"`, `1h1m1s "\n"`}, got)
		})
	})
}

func TestEveryEndIsWhatItSays(t *testing.T) {
	errorsOf := map[ssetest.End][2]func(error) bool{ // over HTTP/1.1 and over HTTP/2
		ssetest.Finish:    {isNil, isNil},
		ssetest.Cut:       {is(io.ErrUnexpectedEOF), isStreamError},
		ssetest.HalfClose: {is(io.ErrUnexpectedEOF), isStreamError},
		ssetest.Reset:     {is(syscall.ECONNRESET), isStreamError},
		ssetest.Hang:      {is(context.DeadlineExceeded), is(context.DeadlineExceeded)},
	}
	for end, want := range errorsOf {
		t.Run(fmt.Sprint(int(end)), func(t *testing.T) {
			eachProtocol(t, func(t *testing.T, p ssetest.Protocol) {
				synctest.Test(t, func(t *testing.T) {
					srv := ssetest.Serve(t, ssetest.NewScript(ssetest.Reply{
						// Delayed, so that the client has read the rest before it is reset.
						Body: []ssetest.Chunk{{0, "data: x"}, {time.Second, ""}},
						End:  end,
					}), &ssetest.ServerOptions{Protocol: p})
					ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
					defer cancel()
					req, _ := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL, nil)
					res, err := srv.Client().Do(req)
					require.NoError(t, err)
					defer res.Body.Close()
					body, err := io.ReadAll(res.Body)
					assert.Equal(t, "data: x", string(body))
					assert.True(t, want[res.ProtoMajor-1](err), "%v", err)
				})
			})
		})
	}
}

func isNil(err error) bool { return err == nil }

func is(want error) func(error) bool {
	return func(err error) bool { return errors.Is(err, want) }
}

func isStreamError(err error) bool {
	return err != nil && strings.Contains(err.Error(), "stream error")
}

func TestAScriptRemembersItsRequestsAndStopsAtItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		script := ssetest.NewScript(
			ssetest.Reply{Status: http.StatusTemporaryRedirect, Header: http.Header{"Location": {"/there?x=y"}}},
			ssetest.Reply{Handler: func(w http.ResponseWriter, r *http.Request) { io.Copy(w, r.Body) }},
			ssetest.Reply{Status: http.StatusServiceUnavailable, Header: http.Header{"Retry-After": {"7"}}, Body: ssetest.Chunks("so", "rry")},
		)
		srv := ssetest.Serve(t, script, nil)
		start := time.Now()
		res, err := srv.Client().Post(srv.URL, "text/plain", strings.NewReader("question"))
		require.NoError(t, err)
		body, _ := io.ReadAll(res.Body)
		res.Body.Close()
		assert.Equal(t, "question", string(body))

		time.Sleep(time.Minute)
		req, _ := http.NewRequest(http.MethodGet, srv.URL, nil)
		req.Header.Set("Last-Event-ID", "42")
		res, err = srv.Client().Do(req)
		require.NoError(t, err)
		body, _ = io.ReadAll(res.Body)
		res.Body.Close()
		assert.Equal(t, []any{503, "7", "sorry"}, []any{res.StatusCode, res.Header.Get("Retry-After"), string(body)})

		res, err = srv.Client().Get(srv.URL)
		require.NoError(t, err)
		res.Body.Close()
		assert.Equal(t, http.StatusNoContent, res.StatusCode)

		requests, err := script.Await(t.Context(), 4)
		require.NoError(t, err)
		assert.Equal(t, requests, script.Requests())
		var got []string
		for _, r := range requests {
			assert.Equal(t, srv.URL, "http://"+r.Host)
			got = append(got, fmt.Sprintf("%v %s %s %q %q", r.At.Sub(start), r.Method, r.URL, r.LastEventID(), r.Body))
		}
		assert.Equal(t, []string{
			`0s POST / "" "question"`,
			`0s POST /there?x=y "" "question"`,
			`1m0s GET / "42" ""`,
			`1m0s GET / "" ""`,
		}, got)

		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		_, err = script.Await(ctx, 5)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

func TestAwaitReturnsWhenTheRequestComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		script := ssetest.NewScript()
		script.Then = ssetest.Reply{Status: http.StatusNotFound}
		srv := ssetest.Serve(t, script, nil)
		start := time.Now()
		time.AfterFunc(time.Hour, func() {
			res, err := srv.Client().Get(srv.URL)
			if assert.NoError(t, err) {
				assert.Equal(t, http.StatusNotFound, res.StatusCode)
				res.Body.Close()
			}
		})
		_, err := script.Await(t.Context(), 1)
		require.NoError(t, err)
		assert.Equal(t, time.Hour, time.Since(start))
		synctest.Wait()
	})
}

func TestAClientThatGoesEndsItsReply(t *testing.T) {
	eachProtocol(t, func(t *testing.T, p ssetest.Protocol) {
		synctest.Test(t, func(t *testing.T) {
			srv := ssetest.Serve(t, ssetest.NewScript(
				ssetest.Reply{Delay: 24 * time.Hour},
				ssetest.Reply{Body: []ssetest.Chunk{{0, "a"}, {24 * time.Hour, "b"}}},
				ssetest.Reply{End: ssetest.Hang},
			), &ssetest.ServerOptions{Protocol: p})
			start := time.Now()
			for range 3 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				req, _ := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL, nil)
				res, err := srv.Client().Do(req)
				if err == nil {
					_, err = io.ReadAll(res.Body)
					res.Body.Close()
				}
				assert.ErrorIs(t, err, context.DeadlineExceeded)
				cancel()
			}
			srv.Close()
			assert.Equal(t, 3*time.Second, time.Since(start))
		})
	})
}

func TestEndsOverRealSockets(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	const sent = "data: x"
	srv := ssetest.Serve(t, ssetest.NewScript(
		ssetest.Reply{Body: ssetest.Chunks(sent), End: ssetest.Cut},
		ssetest.Reply{Body: ssetest.Chunks(sent), End: ssetest.HalfClose},
		ssetest.Reply{Body: ssetest.Chunks(sent), End: ssetest.Reset},
	), &ssetest.ServerOptions{Listener: l})
	for _, want := range []error{io.ErrUnexpectedEOF, io.ErrUnexpectedEOF, syscall.ECONNRESET} {
		res, err := srv.Client().Get(srv.URL)
		if err == nil {
			_, err = io.ReadAll(res.Body)
			res.Body.Close()
		}
		assert.ErrorIs(t, err, want)
	}
}
