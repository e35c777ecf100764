// Package client reads a stream of server-sent events and keeps it open: when
// the connection is lost, it waits, connects again and resumes after the last
// event it received.
//
//	c := client.New("https://example.com/events", nil)
//	for ev, err := range c.Events(ctx) {
//		if err != nil {
//			return err // ctx has ended, or trying again is futile
//		}
//		fmt.Println(ev.ID, ev.Data)
//	}
//
// # Attempts
//
// Each attempt sends the same request, to the URL given to [New], with the ID
// of the last event in the header Last-Event-ID. What comes back decides:
//
//   - 200 with the media type text/event-stream is a stream. Its events are
//     yielded until it ends, cleanly or not; another attempt follows.
//   - 204 is the server's way to say stop: the iteration ends without an error.
//   - Redirects are followed, see below.
//   - Everything else is a [*ResponseError]. Of these, 408, 429 and 5xx are
//     tried again, unless [Options].Retryable says otherwise.
//   - A request that fails, and one that waits longer than
//     [Options].IdleTimeout, is tried again.
//
// # Waiting
//
// Attempts are spaced by a wait that doubles while they fail; [Options] has
// the rules. The server is heard: a retry field sets where the waits start,
// and neither it nor a Retry-After header is ever undercut. [Client.Reconnect]
// ends a wait.
//
// # Redirects
//
// At most 20 redirects are followed per attempt, unless the http.Client in
// [Options] has a CheckRedirect of its own. From the first redirect on that
// leads to another scheme, host or port than the first request had, only the
// headers Accept, Cache-Control and Last-Event-ID go along: nothing else that
// [Options].Header held or [Options].Prepare set, not even when a later
// redirect leads back. The method and the body follow net/http's rules: 307
// and 308 keep both, wherever they lead; 301, 302 and 303 turn into GET.
// Every attempt starts at the original URL again.
//
// # Resuming
//
// [Client.LastEventID] is the ID of the last event that was handed to the
// consumer, or of a later block that only sets the ID. It is never ahead of
// the consumer. An event that was received but not yet handed over when the
// connection is dropped is discarded; the server sends it again.
//
// An ID that an HTTP header cannot carry (it has control characters other than
// a tab, or a blank at an end) or that is longer than 8,000 bytes is kept, but not
// sent; the request then goes out without Last-Event-ID, as if no event had
// been received. An older ID, or a mangled one, would name another place in
// the stream. The Logger is told, once for each such ID in a row.
//
// # What a server can cost
//
// One event is limited to [Options].MaxEventSize, the body of a refusal to
// 4 KiB and 3 seconds, the response's header, informational responses
// included, to the limit of the http.Transport (10 MiB). Attempts are at least
// 10 ms apart, whatever the server says, unless [Client.Reconnect] is called,
// and no retry time or Retry-After is believed beyond 5 minutes. Only
// [Options].IdleTimeout protects against a server that says nothing at all: by
// default a Client waits for ever.
//
// Over HTTP/2 net/http writes to the server while it reads, and waits for one
// that sends and does not read, whatever ends meanwhile. WriteByteTimeout in the
// HTTP2 of the http.Transport limits that.
package client
