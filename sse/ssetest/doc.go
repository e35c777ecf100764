// Package ssetest tests servers and clients of server-sent events, as
// [net/http/httptest] tests those of HTTP.
//
// A first test, of a handler that sends an event a minute, takes no time:
//
//	func TestATickIsSentEveryMinute(t *testing.T) {
//		synctest.Test(t, func(t *testing.T) {
//			began := time.Now()
//			rec := ssetest.Record(t, http.HandlerFunc(ticks), nil)
//			for ev, err := range rec.Events() {
//				require.NoError(t, err)
//				assert.Equal(t, sse.Event{Data: "tick"}, ev)
//				assert.Equal(t, time.Minute, time.Since(began))
//				break // the end of the test is the client going away
//			}
//		})
//	}
//
//	func TestMain(m *testing.M) { ssetest.Main(m) } // no goroutine may be left
//
// What there is:
//
//   - [Record] runs a handler without a network and yields its events as they
//     are flushed.
//   - [Serve] runs a handler behind a real [http.Server], over HTTP/1.1 or
//     HTTP/2, with or without TLS, on a [Network] in memory.
//   - [Script] is a server for testing clients: it answers each request by the
//     next [Reply], to the byte and to the millisecond, and remembers what it
//     was asked.
//   - [Faults] breaks connections on purpose, reproducibly: on the way from a
//     dialer, to a server, or in a [Proxy] between the two.
//   - [Main] fails a package's tests if they leave goroutines behind.
//
// Nothing here needs a socket or real time: in a [testing/synctest] bubble the
// connections of a [Network], and all that is built on them, wait on the
// bubble's clock.
//
// Functions that take a [testing.TB] close what they return when the test
// ends. The TB may be nil, as in an example; closing is then the caller's
// part.
package ssetest
