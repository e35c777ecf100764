package client_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/fanfare-go/fanfare/client"
)

// Each case is a row of answers, and a 204 behind them that ends the run.
func TestAStreamIsResumedAsBrowsersDo(t *testing.T) {
	for _, test := range []struct {
		name    string
		answers []http.HandlerFunc
		shown   []string
		ids     []string // Last-Event-ID of each request
	}{
		{
			name:    "reconnect without event",
			answers: []http.HandlerFunc{whole("retry: 2\n"), whole("data: data\n\n")},
			shown:   []string{"open", "retry: unexpected EOF", "open", `event "": data`, "retry: EOF"},
			ids:     []string{"[]", "[]", "[]"},
		},
		{
			name:    "reconnect after event",
			answers: []http.HandlerFunc{whole("retry: 2\ndata: ok\n\n"), whole("data: data\n\n")},
			shown:   []string{"open", `event "": ok`, "retry: EOF", "open", `event "": data`, "retry: EOF"},
			ids:     []string{"[]", "[]", "[]"},
		},
		{
			name:    "stop by 204",
			answers: []http.HandlerFunc{whole("retry: 2\ndata: opened\n\n"), whole("data: reconnected\n\n")},
			shown:   []string{"open", `event "": opened`, "retry: EOF", "open", `event "": reconnected`, "retry: EOF"},
			ids:     []string{"[]", "[]", "[]"},
		},
		{
			name:    "id round trip",
			answers: []http.HandlerFunc{whole("id: …\nretry: 200\ndata: hello\n\n"), whole("data: 2\n\n"), cut("data: 3\n\n")},
			shown: []string{
				"open", `event "…": hello`, "retry: EOF",
				"open", `event "…": 2`, "retry: EOF",
				"open", `event "…": 3`, "retry: unexpected EOF",
			},
			ids: []string{"[]", "[…]", "[…]", "[…]"},
		},
		{
			name:    "another id replaces it",
			answers: []http.HandlerFunc{whole("id: 1\ndata: a\n\n"), whole("id: 2\ndata: b\n\n")},
			shown:   []string{"open", `event "1": a`, "retry: EOF", "open", `event "2": b`, "retry: EOF"},
			ids:     []string{"[]", "[1]", "[2]"},
		},
		{
			name:    "ignored id",
			answers: []http.HandlerFunc{whole("id: a\x00b\nretry: 200\ndata: hello\n\n")},
			shown:   []string{"open", `event "": hello`, "retry: EOF"},
			ids:     []string{"[]", "[]"},
		},
		{
			name: "unfinished block",
			answers: []http.HandlerFunc{
				whole("retry:1000\ndata:test1\n\nid:test\ndata:test2\n"),
				whole("retry:1000\ndata:test1\n\nid:test\ndata:test2\n"),
			},
			shown: []string{
				"open", `event "": test1`, "retry: unexpected EOF",
				"open", `event "": test1`, "retry: unexpected EOF",
			},
			ids: []string{"[]", "[]", "[]"},
		},
		{
			name:    "partial event",
			answers: []http.HandlerFunc{cut("id: abc\ndata: Hello\n\nid: def\ndata: Goodbye"), whole("data: We meet again\n\n")},
			shown:   []string{"open", `event "abc": Hello`, "retry: unexpected EOF", "open", `event "abc": We meet again`, "retry: EOF"},
			ids:     []string{"[]", "[abc]", "[abc]"},
		},
		{
			name:    "id without data",
			answers: []http.HandlerFunc{whole("id: 1337\n\n")},
			shown:   []string{"open", "retry: EOF"},
			ids:     []string{"[]", "[1337]"},
		},
		{
			name:    "id without data after an event",
			answers: []http.HandlerFunc{cut("id: 1\ndata: a\n\nid: 2\n\nid: 3\n")},
			shown:   []string{"open", `event "1": a`, "retry: unexpected EOF"},
			ids:     []string{"[]", "[2]"},
		},
		{
			name:    "reset",
			answers: []http.HandlerFunc{whole("id: abc\ndata: Hello\n\nid: \ndata: World\n\n")},
			shown:   []string{"open", `event "abc": Hello`, `event "": World`, "retry: EOF"},
			ids:     []string{"[]", "[]"},
		},
		{
			name:    "type and partial line of the old stream do not reach the new one",
			answers: []http.HandlerFunc{cut("event: old\ndata: old\nda"), whole("ta: x\ndata: new\n\n")},
			shown:   []string{"open", "retry: unexpected EOF", "open", `event "": new`, "retry: EOF"},
			ids:     []string{"[]", "[]", "[]"},
		},
		{
			name:    "a byte order mark starts every stream",
			answers: []http.HandlerFunc{whole("\uFEFFdata: 1\n\n"), whole("\uFEFFdata: 2\n\n")},
			shown:   []string{"open", `event "": 1`, "retry: EOF", "open", `event "": 2`, "retry: EOF"},
			ids:     []string{"[]", "[]", "[]"},
		},
	} {
		inBubble(t, test.name, func(t *testing.T) {
			p := serve(t, test.answers...)
			assert.Equal(t, test.shown, consume(t.Context(), p, client.Options{}))
			assert.Equal(t, test.ids, p.lastEventIDs())
		})
	}
}
