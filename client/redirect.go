package client

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// maxRedirects is Fetch's limit, twice that of net/http.
const maxRedirects = 20

// redirects returns a CheckRedirect that keeps what the request holds from
// other origins, and then asks the user's own, if there is one.
func (c *Client) redirects(next func(*http.Request, []*http.Request) error) func(*http.Request, []*http.Request) error {
	return func(req *http.Request, via []*http.Request) error {
		if leavesOrigin(req, via) {
			c.strip(req)
		}
		if next != nil {
			return next(req, via) // as it is: net/http compares with ErrUseLastResponse
		}
		if len(via) > maxRedirects {
			return fmt.Errorf("stopped after %d redirects", maxRedirects)
		}
		return nil
	}
}

// leavesOrigin reports whether req, or a redirect before it, goes to another
// origin than the first request went to. One that leads back does not count as
// back: the other origin has chosen what is asked for there.
func leavesOrigin(req *http.Request, via []*http.Request) bool {
	first := origin(via[0].URL)
	for _, hop := range via[1:] {
		if origin(hop.URL) != first {
			return true
		}
	}
	return origin(req.URL) != first
}

// strip removes everything that came from Options.Header or Prepare, and the
// Referer that net/http has added. net/http itself only removes what it knows
// to be sensitive, such as Authorization, and lets an X-Api-Key pass.
func (c *Client) strip(req *http.Request) {
	for name := range req.Header {
		switch http.CanonicalHeaderKey(name) {
		case headerAccept, headerCacheControl, headerLastEventID:
		default:
			delete(req.Header, name)
		}
	}
	req.Host = "" // net/http keeps it for a Location without a scheme, "//elsewhere/" too

	if req.GetBody != nil { // of 307 and 308; Prepare may have set another one
		req.Body.Close()
		c.setBody(req)
	}
}

// origin returns the scheme, host and port of u, the port also if it is the
// scheme's default.
func origin(u *url.URL) string {
	port := u.Port()
	if port == "" {
		switch u.Scheme {
		case "http":
			port = "80"
		case "https":
			port = "443"
		}
	}
	return u.Scheme + "://" + strings.ToLower(u.Hostname()) + ":" + port
}
