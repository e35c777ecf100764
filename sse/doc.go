// Package sse reads and writes streams of server-sent events: the media type
// text/event-stream, as section 9.2 of the WHATWG HTML standard defines it.
//
//   - An [Event] encodes itself: [Event.AppendTo]. [AppendComment], [AppendID]
//     and [AppendRetry] encode what a stream has besides events.
//   - A [Decoder] reads any stream, exactly as a browser does.
//   - A [Writer] is the server end of one stream: the response to a request,
//     over HTTP/1.1 and HTTP/2, with headers, flushes, heartbeats and timeouts
//     in order.
//
// To fan events out to many clients see package broker; for a client that
// reconnects see package client.
//
// # The format
//
// A stream is UTF-8 text in lines, and a blank line ends each event:
//
//	id: 42
//	event: price
//	data: {"symbol": "GO",
//	data:  "price": 12.5}
//
//	: a comment
//
// Spec: "Lines must be separated by either a U+000D CARRIAGE RETURN U+000A LINE
// FEED (CRLF) character pair, a single U+000A LINE FEED (LF) character, or a
// single U+000D CARRIAGE RETURN (CR) character."
//
// The last ID that a client has seen stays with it until another is sent; it
// sends it as Last-Event-ID when it reconnects. Data can have any number of
// lines, but a line end in it always arrives as LF, and what is not UTF-8
// arrives as U+FFFD: the format carries text, not bytes.
package sse
