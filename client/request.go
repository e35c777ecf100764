package client

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"github.com/fanfare-go/fanfare/sse"
)

const (
	headerAccept       = "Accept"
	headerCacheControl = "Cache-Control"
	headerHost         = "Host"
	headerLastEventID  = "Last-Event-Id" // in net/http's spelling: the key in an http.Header
)

// maxSentID is the longest ID that is sent. Common servers refuse header lines
// of more than 8 KiB, name included, with a status that ends the stream.
const maxSentID = 8000

// checkURL returns an error if no request can be made for the URL.
func checkURL(raw string) error {
	u, err := url.Parse(raw)
	if err != nil {
		return fmt.Errorf("client: %w", err)
	}
	if u.Scheme == "" || u.Host == "" {
		return fmt.Errorf("client: URL %q without scheme or host", raw)
	}
	return nil
}

// checkHeader returns an error if net/http refuses to send h: every attempt would
// fail.
func checkHeader(h http.Header) error {
	for name, values := range h {
		if !isToken(name) {
			return fmt.Errorf("client: header with the name %q", name)
		}
		for _, v := range values {
			if hasControl(v) {
				// The value may be a secret.
				return fmt.Errorf("client: header %s with a control character, such as a line end, in its value", name)
			}
		}
	}
	return nil
}

// isToken reports whether a header may have the name.
//
// RFC 9110, 5.6.2: "token = 1*tchar".
func isToken(name string) bool {
	isOther := func(r rune) bool {
		isDigit, isAlpha := '0' <= r && r <= '9', 'a' <= r|0x20 && r|0x20 <= 'z'
		return !isDigit && !isAlpha && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
	}
	return name != "" && !strings.ContainsFunc(name, isOther)
}

// hasControl reports whether s has a control character other than a tab.
func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f })
}

// ownHeader returns a copy of a header with canonical names, in which those
// that the Client sets itself have the value it sets.
func ownHeader(h http.Header) http.Header {
	own := make(http.Header, len(h)+2)
	for name, values := range h {
		for _, v := range values {
			own.Add(name, v)
		}
	}
	own.Del(headerLastEventID)
	if len(own[headerAccept]) == 0 {
		own.Set(headerAccept, sse.MediaType)
	}
	if len(own[headerCacheControl]) == 0 {
		own.Set(headerCacheControl, "no-cache")
	}
	return own
}

// request returns the request of one attempt, ready to be sent.
func (c *Client) request(ctx context.Context, lastEventID string) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, c.opts.Method, c.url, nil)
	if err != nil {
		return nil, fmt.Errorf("client: %w", err)
	}
	c.setBody(req)
	req.Header = c.opts.Header.Clone()
	if host := req.Header.Get(headerHost); host != "" {
		req.Host = host // net/http takes it from here only
		req.Header.Del(headerHost)
	}
	// Spec: "If the EventSource object's last event ID string is not the empty
	// string, then: Let lastEventIDValue be the EventSource object's last
	// event ID string, encoded as UTF-8. Set (`Last-Event-ID`,
	// lastEventIDValue) in request's header list."
	switch {
	case sendable(lastEventID):
		if lastEventID != "" {
			req.Header.Set(headerLastEventID, lastEventID)
		}
		c.unsendable = ""
	case c.unsendable != lastEventID:
		c.unsendable = lastEventID
		c.log(ctx, slog.LevelWarn, "client: the last event ID cannot be sent in a header: connecting without one",
			slog.Int("length", len(lastEventID)))
	}
	if c.opts.Prepare != nil {
		if err := c.opts.Prepare(req); err != nil {
			return nil, fmt.Errorf("client: prepare: %w", err)
		}
	}
	return req, nil
}

// setBody gives req the Body of Options, and a GetBody for 307 and 308.
func (c *Client) setBody(req *http.Request) {
	body := c.opts.Body
	if len(body) == 0 {
		req.Body, req.GetBody, req.ContentLength = nil, nil, 0
		return
	}
	req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	req.Body, _ = req.GetBody()
	req.ContentLength = int64(len(body))
}

// sendable reports whether the ID reaches the server unchanged in a header:
// net/http refuses to send control characters, and blanks at the ends are lost
// on the way. With a refused one every attempt would fail, for ever.
func sendable(id string) bool {
	return len(id) <= maxSentID && strings.Trim(id, " \t") == id && !hasControl(id)
}
