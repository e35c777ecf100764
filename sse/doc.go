// Package sse reads and writes streams of server-sent events, the format
// text/event-stream of the WHATWG HTML standard, section 9.2.
package sse
