package client_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/fanfare-go/fanfare/client"
	"github.com/fanfare-go/fanfare/sse/ssetest"
)

// A chain is a RoundTripper that answers with one redirect after another, as
// "307 http://…", and then with 204. It keeps what was asked.
type chain struct {
	redirects []string
	asked     []request
}

func (c *chain) RoundTrip(req *http.Request) (*http.Response, error) {
	resp := &http.Response{StatusCode: http.StatusNoContent, Header: http.Header{}, Body: http.NoBody, Request: req}
	asked := request{Method: req.Method, Path: req.URL.String(), Header: req.Header.Clone(), Host: req.Host}
	if req.Body != nil {
		body, _ := io.ReadAll(req.Body)
		asked.Body = string(body)
	}
	if req.GetBody != nil { // which a Transport uses when it has to send the request again
		r, _ := req.GetBody()
		if body, _ := io.ReadAll(r); string(body) != asked.Body {
			asked.Body += ", then " + string(body)
		}
	}
	c.asked = append(c.asked, asked)
	if len(c.redirects) > 0 {
		fmt.Sscan(c.redirects[0], &resp.StatusCode, (*location)(&resp.Header))
		c.redirects = c.redirects[1:]
	}
	return resp, nil
}

// location scans the word after the status.
type location http.Header

func (l *location) Scan(state fmt.ScanState, verb rune) error {
	word, err := state.Token(true, nil)
	http.Header(*l).Set("Location", string(word))
	return err
}

// secretive are options with something in every place that must not leave the
// origin, over the chain.
func secretive(c *chain) *client.Options {
	return &client.Options{
		Header: http.Header{
			"Authorization": {"Bearer secret"},
			"Cookie":        {"session=secret"},
			"X-Api-Key":     {"secret"},
			"x-lower":       {"secret"},
			"User-Agent":    {"secret"},
			"Referer":       {"https://secret/"},
			"Content-Type":  {"application/secret"},
			"Host":          {"secret.test"},
			"Accept":        {"text/event-stream, text/*;q=0.1"},
			"Cache-Control": {"no-store"},
		},
		Prepare: func(req *http.Request) error {
			req.Header.Set("X-Token", "secret")
			return nil
		},
		LastEventID: "7",
		HTTPClient:  &http.Client{Transport: c},
	}
}

func TestNothingSecretLeavesTheOrigin(t *testing.T) {
	bare := http.Header{
		"Accept":        {"text/event-stream, text/*;q=0.1"},
		"Cache-Control": {"no-store"},
		"Last-Event-Id": {"7"},
	}
	const home = "http://home.test/events"
	for _, test := range []struct {
		name, url string
		redirects []string
	}{
		{"to another host", home, []string{"302 http://other.test/"}},
		{"to a subdomain", home, []string{"302 http://sub.home.test/"}},
		{"to a parent domain", home, []string{"302 http://test/"}},
		{"to another port", home, []string{"307 http://home.test:8080/"}},
		{"to another scheme", home, []string{"308 https://home.test/events"}},
		{"to another scheme on the same port", home, []string{"308 https://home.test:80/"}},
		{"to a host without a scheme", home, []string{"301 //other.test/events"}},
		{"back again", home, []string{"302 http://other.test/", "302 " + home}},
		{"on from there", home, []string{"307 //other.test/", "307 /deeper", "307 //home.test/"}},
		{"after a redirect at home", home, []string{"302 /moved", "302 http://other.test/"}},
		{"with user and password in the URL", "http://user:secret@home.test/", []string{"302 http://other.test/"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := &chain{redirects: slices.Clone(test.redirects)}
			for _, err := range client.New(test.url, secretive(c)).Events(t.Context()) {
				assert.NoError(t, err)
			}
			assert.Len(t, c.asked, 1+len(test.redirects))
			last := c.asked[len(c.asked)-1]
			assert.Equal(t, bare, last.Header)
			assert.NotEqual(t, "secret.test", last.Host)
		})
	}
}

func TestAllGoesAlongWithinTheOrigin(t *testing.T) {
	for _, test := range []struct{ url, redirect string }{
		{"http://home.test/events", "302 /moved"},
		{"http://home.test/events", "302 http://home.test:80/moved"},
		{"http://home.test:80/events", "302 http://home.test/moved"},
		{"https://home.test/events", "302 https://home.test:443/moved"},
		{"https://home.test:443/events", "302 //home.test/moved"},
	} {
		t.Run(test.url+" to "+test.redirect, func(t *testing.T) {
			c := &chain{redirects: []string{test.redirect}}
			for _, err := range client.New(test.url, secretive(c)).Events(t.Context()) {
				assert.NoError(t, err)
			}
			if assert.Len(t, c.asked, 2) {
				want := c.asked[0].Header
				want.Del("Content-Type") // net/http: the body, too, is gone
				assert.Equal(t, want, c.asked[1].Header)
				assert.Equal(t, "Bearer secret", want.Get("Authorization"))
			}
		})
	}
}

func TestMethodAndBodyAreKeptBy307And308(t *testing.T) {
	type sent struct{ Method, Body string }
	for code, want := range map[int]sent{
		301: {"GET", ""},
		302: {"GET", ""},
		303: {"GET", ""},
		307: {"REPORT", "all of it"},
		308: {"REPORT", "all of it"},
	} {
		for _, to := range []string{"/moved", "http://other.test/"} {
			t.Run(fmt.Sprint(code, " ", to), func(t *testing.T) {
				c := &chain{redirects: []string{fmt.Sprint(code, " ", to), fmt.Sprint(code, " ", to)}}
				opts := &client.Options{Method: "REPORT", Body: []byte("all of it"), HTTPClient: &http.Client{Transport: c}}
				for _, err := range client.New("http://home.test/", opts).Events(t.Context()) {
					assert.NoError(t, err)
				}
				var got []sent
				for _, r := range c.asked {
					got = append(got, sent{r.Method, r.Body})
				}
				assert.Equal(t, []sent{{"REPORT", "all of it"}, want, want}, got)
			})
		}
	}
}

func TestABodyThatPrepareSetsStaysAtTheOrigin(t *testing.T) {
	for _, body := range []string{"", "for anybody"} {
		c := &chain{redirects: []string{"307 /moved", "308 http://other.test/", "307 http://home.test/"}}
		opts := &client.Options{
			Method:     http.MethodPost,
			Body:       []byte(body),
			HTTPClient: &http.Client{Transport: c},
			Prepare: func(req *http.Request) error {
				req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("secret")), nil }
				req.Body, _ = req.GetBody()
				req.ContentLength = int64(len("secret"))
				return nil
			},
		}
		for _, err := range client.New("http://home.test/", opts).Events(t.Context()) {
			assert.NoError(t, err)
		}
		var got []string
		for _, r := range c.asked {
			got = append(got, r.Method+" "+r.Body)
		}
		assert.Equal(t, []string{"POST secret", "POST secret", "POST " + body, "POST " + body}, got)
	}
}

func TestEveryAttemptStartsAtTheOriginalURL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := serve(t, status(308, "Location", "/moved"), whole("data: 1\n\n"), status(301, "Location", "/moved"), whole("data: 2\n\n"))
		assert.Equal(t, []string{"open", `event "": 1`, "retry: EOF", "open", `event "": 2`, "retry: EOF"}, consume(t.Context(), p, client.Options{}))
		var paths []string
		for _, r := range p.asked() {
			paths = append(paths, r.Path)
		}
		assert.Equal(t, []string{"/events", "/moved", "/events", "/moved", "/events"}, paths)
	})
}

func TestARedirectLeadsToAnotherServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := ssetest.NewNetwork(nil)
		other := serveAt(t, &ssetest.ServerOptions{Network: network}, whole("data: elsewhere\n\n"))
		p := serveAt(t, &ssetest.ServerOptions{Network: network}, status(307, "Location", other.URL+"/there"))
		opts := client.Options{LastEventID: "7", Header: http.Header{"X-Api-Key": {"secret"}}}
		assert.Equal(t, []string{"open", `event "7": elsewhere`, "retry: EOF"}, consume(t.Context(), p, opts))
		assert.Equal(t, http.Header{"Accept": {"text/event-stream"}, "Cache-Control": {"no-cache"}, "Last-Event-Id": {"7"}}, other.asked()[0].Header)
	})
}

func TestAtMost20RedirectsAreFollowed(t *testing.T) {
	loop := func(n int) *chain { return &chain{redirects: slices.Repeat([]string{"302 /again"}, n)} }
	last := func(c *chain) (last error) {
		opts := &client.Options{HTTPClient: &http.Client{Transport: c}, MaxAttempts: 1}
		for _, err := range client.New("http://home.test/", opts).Events(t.Context()) {
			last = err
		}
		return last
	}
	t.Run("20 are", func(t *testing.T) {
		c := loop(20)
		assert.NoError(t, last(c))
		assert.Len(t, c.asked, 21)
	})
	t.Run("21 are a network error", func(t *testing.T) {
		c := loop(21)
		assert.EqualError(t, last(c), `client: Get "/again": stopped after 20 redirects (failed attempts: 1)`)
		assert.Len(t, c.asked, 21)
	})
}

func TestAnUnusableLocationIsANetworkError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := serve(t, status(302, "Location", "http://[::1/"), whole("data: 1\n\n"))
		log := consume(t.Context(), p, client.Options{})
		assert.Equal(t, []string{"open", `event "": 1`, "retry: EOF"}, log[1:])
		assert.Contains(t, log[0], "retry: ")
		assert.Contains(t, log[0], "failed to parse Location")
	})
}

func TestTheUsersCheckRedirectHasItsSay(t *testing.T) {
	ask := func(c *chain, check func(*http.Request, []*http.Request) error) (last error) {
		opts := secretive(c)
		opts.HTTPClient.CheckRedirect = check
		opts.MaxAttempts = 1
		for _, err := range client.New("http://home.test/", opts).Events(t.Context()) {
			last = err
		}
		return last
	}
	t.Run("it may follow more than 20", func(t *testing.T) {
		c := &chain{redirects: slices.Repeat([]string{"302 /again"}, 30)}
		assert.NoError(t, ask(c, func(*http.Request, []*http.Request) error { return nil }))
		assert.Len(t, c.asked, 31)
	})
	t.Run("it may refuse", func(t *testing.T) {
		c := &chain{redirects: []string{"302 /again"}}
		no := errors.New("no")
		err := ask(c, func(*http.Request, []*http.Request) error { return no })
		assert.ErrorIs(t, err, no)
		assert.Len(t, c.asked, 1)
	})
	t.Run("it may take the redirect for the response", func(t *testing.T) {
		c := &chain{redirects: []string{"302 /again"}}
		err := ask(c, func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse })
		assert.Equal(t, &client.ResponseError{StatusCode: 302, Header: http.Header{"Location": {"/again"}}, Body: []byte{}}, err)
		assert.Len(t, c.asked, 1)
	})
	t.Run("it sees what goes along, and may add to it", func(t *testing.T) {
		c := &chain{redirects: []string{"302 http://other.test/"}}
		assert.NoError(t, ask(c, func(req *http.Request, via []*http.Request) error {
			assert.Empty(t, req.Header.Get("X-Api-Key"))
			req.Header.Set("X-Api-Key", "for other.test")
			return nil
		}))
		assert.Equal(t, "for other.test", c.asked[1].Header.Get("X-Api-Key"))
	})
}

func TestTheUsersHTTPClientIsNotChanged(t *testing.T) {
	c := &chain{redirects: []string{"302 /again"}}
	hc := &http.Client{Transport: c, Timeout: time.Minute}
	for range client.New("http://home.test/", &client.Options{HTTPClient: hc}).Events(t.Context()) {
	}
	assert.Equal(t, &http.Client{Transport: c, Timeout: time.Minute}, hc)
	assert.Nil(t, http.DefaultClient.CheckRedirect)
}

func TestABadURLIsReportedAtOnce(t *testing.T) {
	for url, want := range map[string]string{
		"":                  `client: URL "" without scheme or host`,
		"home.test/events":  `client: URL "home.test/events" without scheme or host`,
		"/events":           `client: URL "/events" without scheme or host`,
		"//home.test":       `client: URL "//home.test" without scheme or host`,
		"http:///events":    `client: URL "http:///events" without scheme or host`,
		"http://home\x7f":   `client: parse "http://home\x7f": net/url: invalid control character in URL`,
		"http://home.test:": "", // an empty port is the default one
	} {
		t.Run(url, func(t *testing.T) {
			c := &chain{}
			var got []error
			opts := &client.Options{
				HTTPClient: &http.Client{Transport: c},
				Retryable:  func(error) bool { return true },
				OnRetry:    func(error, time.Duration) { t.Error("retried") },
			}
			for _, err := range client.New(url, opts).Events(t.Context()) {
				got = append(got, err)
			}
			if want == "" {
				assert.Empty(t, got)
				assert.Len(t, c.asked, 1)
				return
			}
			if assert.Len(t, got, 1) {
				assert.EqualError(t, got[0], want)
			}
			assert.Empty(t, c.asked)
		})
	}
	t.Run("with its reason", func(t *testing.T) {
		for _, err := range client.New("http://home.test:port", nil).Events(t.Context()) {
			assert.ErrorAs(t, err, new(*url.Error))
			assert.True(t, strings.HasPrefix(err.Error(), "client: parse "), err)
		}
	})
}
