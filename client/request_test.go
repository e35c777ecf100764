package client_test

import (
	"bytes"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/fanfare-go/fanfare/client"
)

// asks runs a Client against a server that cuts two connections and then says
// 204, and returns the three requests without their times.
func asks(t *testing.T, opts client.Options) []request {
	p := serve(t, cut("id: 1\ndata: 1\n\n"), cut("data: 2\n\n"))
	for _, err := range p.client(opts).Events(t.Context()) {
		assert.NoError(t, err)
	}
	asked := p.asked()
	for i := range asked {
		asked[i].At = 0
	}
	return asked
}

// header returns a header from names and values.
func header(namesAndValues ...string) http.Header {
	h := make(http.Header)
	for i := 0; i < len(namesAndValues); i += 2 {
		h.Add(namesAndValues[i], namesAndValues[i+1])
	}
	return h
}

func TestEveryAttemptSendsTheSameRequest(t *testing.T) {
	const sse, none = "text/event-stream", "no-cache"
	inBubble(t, "by default GET with the headers of the standard", func(t *testing.T) {
		later := request{Method: "GET", Path: "/events", Host: "sse.test:8080", Header: header("Accept", sse, "Cache-Control", none, "Last-Event-ID", "1")}
		first := later
		first.Header = header("Accept", sse, "Cache-Control", none)
		assert.Equal(t, []request{first, later, later}, asks(t, client.Options{}))
	})
	inBubble(t, "from Options.LastEventID", func(t *testing.T) {
		assert.Equal(t, header("Accept", sse, "Cache-Control", none, "Last-Event-ID", "0"), asks(t, client.Options{LastEventID: "0"})[0].Header)
	})
	inBubble(t, "with Method, Body and Header, which the caller may change at once", func(t *testing.T) {
		body := []byte(`{"q":1}`)
		h := header("Content-Type", "application/json", "X-Many", "a", "X-Many", "b", "Host", "virtual.test")
		p := serve(t, cut("id: 1\ndata: 1\n\n"))
		c := p.client(client.Options{Method: "POST", Body: body, Header: h})
		copy(body, "mangled")
		h.Set("Content-Type", "mangled")
		h.Set("X-More", "mangled")
		for _, err := range c.Events(t.Context()) {
			assert.NoError(t, err)
		}
		for _, r := range p.asked() {
			r.At = 0
			r.Header.Del("Last-Event-ID")
			assert.Equal(t, request{
				Method: "POST", Path: "/events", Body: `{"q":1}`, Host: "virtual.test",
				Header: header("Accept", sse, "Cache-Control", none, "Content-Type", "application/json", "X-Many", "a", "X-Many", "b"),
			}, r)
		}
		assert.Equal(t, header("Content-Type", "mangled", "X-Many", "a", "X-Many", "b", "Host", "virtual.test", "X-More", "mangled"), h)
	})
	inBubble(t, "with any Method", func(t *testing.T) {
		for _, r := range asks(t, client.Options{Method: "REPORT", Body: []byte("x")}) {
			assert.Equal(t, "REPORT x", r.Method+" "+r.Body)
		}
	})
	inBubble(t, "with Header's Accept and Cache-Control, but the Client's Last-Event-ID", func(t *testing.T) {
		h := http.Header{"accept": {"text/*"}, "cache-CONTROL": {"max-age=0"}, "Last-Event-ID": {"x"}, "last-event-id": {"y"}, "Last-Event-Id": {"z"}}
		asked := asks(t, client.Options{Header: h})
		assert.Equal(t, header("Accept", "text/*", "Cache-Control", "max-age=0"), asked[0].Header)
		assert.Equal(t, header("Accept", "text/*", "Cache-Control", "max-age=0", "Last-Event-ID", "1"), asked[1].Header)
	})
}

func TestPrepareSeesEveryRequestBeforeItIsSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen []http.Header
		asked := asks(t, client.Options{Header: header("X-Own", "1"), Prepare: func(req *http.Request) error {
			seen = append(seen, req.Header.Clone())
			req.Header.Set("Authorization", strings.Repeat("x", len(seen)))
			req.Header.Set("X-Own", "2")
			return nil
		}})
		base := []string{"Accept", "text/event-stream", "Cache-Control", "no-cache"}
		var want, sent []http.Header
		for i, id := range []string{"", "1", "1"} {
			h := header(base...)
			if id != "" {
				h.Set("Last-Event-ID", id)
			}
			h.Set("X-Own", "1")
			want = append(want, h.Clone())
			h.Set("X-Own", "2")
			h.Set("Authorization", strings.Repeat("x", i+1))
			sent = append(sent, h)
		}
		assert.Equal(t, want, seen)
		for i, r := range asked {
			assert.Equal(t, sent[i], r.Header)
		}
	})
}

func TestAnErrorOfPrepareEndsTheIteration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := serve(t)
		expired := errors.New("token expired")
		opts := client.Options{Prepare: func(*http.Request) error { return expired }, Retryable: func(error) bool { return true }}
		var got []error
		for _, err := range p.client(opts).Events(t.Context()) {
			got = append(got, err)
		}
		if assert.Len(t, got, 1) {
			assert.EqualError(t, got[0], "client: prepare: token expired")
			assert.ErrorIs(t, got[0], expired)
		}
		assert.Empty(t, p.asked())
	})
}

func TestAMethodThatIsNoneEndsTheIteration(t *testing.T) {
	for _, err := range client.New("http://home.test/", &client.Options{Method: "NO METHOD"}).Events(t.Context()) {
		assert.EqualError(t, err, `client: net/http: invalid method "NO METHOD"`)
	}
}

func TestAnIDThatAHeaderCannotCarryIsNotSent(t *testing.T) {
	for _, test := range []struct {
		name, id string
		sent     bool
	}{
		{"plain", "a-1", true},
		{"inner blanks and tabs", "a b\tc", true},
		{"beyond ASCII", "größer …", true},
		{"not UTF-8", "\xff\xfe", true},
		{"8,000 bytes", strings.Repeat("x", 8000), true},
		{"more than 8,000 bytes", strings.Repeat("x", 8001), false},
		{"1 MiB", strings.Repeat("x", 1<<20), false},
		{"a control character", "a\x01b", false},
		{"an escape", "\x1b[0m", false},
		{"a DEL", "a\x7f", false},
		{"a line end", "a\r\nX-Injected: 1", false},
		{"a NUL", "a\x00", false},
		{"a leading blank", " a", false},
		{"a trailing blank", "a ", false},
		{"a trailing tab", "a\t", false},
		{"only a blank", " ", false},
	} {
		inBubble(t, test.name, func(t *testing.T) {
			var log bytes.Buffer
			p := serve(t, status(503), status(503))
			c := p.client(client.Options{
				LastEventID: test.id,
				Logger:      slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn})),
			})
			for _, err := range c.Events(t.Context()) {
				assert.NoError(t, err)
			}
			var want []string
			warnings := 1
			if test.sent {
				want, warnings = []string{test.id}, 0
			}
			for _, r := range p.asked() {
				assert.Equal(t, want, r.Header.Values("Last-Event-ID"))
			}
			assert.Len(t, p.asked(), 3)
			assert.Equal(t, warnings, strings.Count(log.String(), "cannot be sent"), "warnings, however many attempts")
			assert.Equal(t, test.id, c.LastEventID())
		})
	}
	inBubble(t, "also if it came from the server, until another replaces it", func(t *testing.T) {
		p := serve(t, whole("id: good\ndata: 1\n\nid: \x01\ndata: 2\n\n"), whole("data: 3\n\n"), whole("id: better\ndata: 4\n\n"))
		assert.Equal(t, []string{
			"open", `event "good": 1`, `event "\x01": 2`, "retry: EOF",
			"open", `event "\x01": 3`, "retry: EOF",
			"open", `event "better": 4`, "retry: EOF",
		}, consume(t.Context(), p, client.Options{}))
		assert.Equal(t, []string{"[]", "[]", "[]", "[better]"}, p.lastEventIDs())
	})
	inBubble(t, "and is told of again when it comes back", func(t *testing.T) {
		var log bytes.Buffer
		p := serve(t, whole("id: \x01\n\n"), whole("id: good\n\n"), whole("id: \x01\n\n"), whole("id\n\n"), whole("id: \x01\n\n"))
		consume(t.Context(), p, client.Options{Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))})
		assert.Equal(t, 3, strings.Count(log.String(), "cannot be sent"))
	})
}

func TestATimeoutOfTheHTTPClientIsWarnedOfOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		p := serve(t, open("data: 1\n\n"))
		hc := *p.Client()
		hc.Timeout = time.Second
		opts := client.Options{HTTPClient: &hc, Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))}
		for _, err := range p.client(opts).Events(t.Context()) {
			assert.NoError(t, err)
		}
		assert.Equal(t, 1, strings.Count(log.String(), "\n"), log.String())
		assert.Contains(t, log.String(), "Timeout")
		assert.Len(t, p.asked(), 2, "and it is as harmful as the warning says")
	})
}

func TestAHeaderThatCannotBeSentIsReportedAtOnce(t *testing.T) {
	for name, tc := range map[string]struct {
		header http.Header
		want   string // "": it is sent
	}{
		"line end":       {http.Header{"Authorization": {"Bearer abc\n"}}, "client: header Authorization with a control character, such as a line end, in its value"},
		"delete":         {http.Header{"X": {"a", "\x7f"}}, "client: header X with a control character, such as a line end, in its value"},
		"host":           {http.Header{"Host": {"a\r\nb"}}, "client: header Host with a control character, such as a line end, in its value"},
		"blank in name":  {http.Header{"Bad Name": {"a"}}, `client: header with the name "Bad Name"`},
		"no name":        {http.Header{"": {"a"}}, `client: header with the name ""`},
		"not ASCII":      {http.Header{"Bäd": {"a"}}, `client: header with the name "Bäd"`},
		"other names":    {http.Header{"x_1!#$%&'*+-.^`|~Z": {"a"}}, ""},
		"tab and beyond": {http.Header{"X": {"a\tb \x80 ü"}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			c := &chain{}
			var got []string
			opts := &client.Options{
				Header:     tc.header,
				HTTPClient: &http.Client{Transport: c},
				Retryable:  func(error) bool { return true },
				OnRetry:    func(error, time.Duration) { t.Error("retried") },
			}
			for _, err := range client.New("http://home.test/", opts).Events(t.Context()) {
				got = append(got, err.Error())
			}
			if tc.want == "" {
				assert.Empty(t, got)
				assert.Len(t, c.asked, 1)
				return
			}
			assert.Equal(t, []string{tc.want}, got)
			assert.Empty(t, c.asked)
		})
	}
}

func TestNetHTTPRefusesNoHeaderThatIsNotReported(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	defer srv.Close()
	for c := range 256 {
		for _, h := range []http.Header{{"X": {"a" + string([]byte{byte(c)}) + "b"}}, {"A" + string([]byte{byte(c)}): {"b"}}} {
			retried := false
			opts := &client.Options{Header: h, Retryable: func(error) bool { retried = true; return false }}
			for range client.New(srv.URL, opts).Events(t.Context()) {
			}
			assert.False(t, retried, "%q", h)
		}
	}
}

func TestTheClientsOwnLastEventIDIsNoReasonToRefuseAHeader(t *testing.T) {
	c := &chain{}
	opts := &client.Options{HTTPClient: &http.Client{Transport: c}, Header: http.Header{"Last-Event-Id": {"a\n"}}}
	for _, err := range client.New("http://home.test/", opts).Events(t.Context()) {
		t.Error(err)
	}
	assert.Len(t, c.asked, 1)
}
