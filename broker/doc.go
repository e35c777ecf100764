// Package broker fans server-sent events out to any number of subscribers, and
// keeps the history from which they resume.
//
// A [Broker] takes events with [Broker.Publish] and delivers them over HTTP, as
// a [net/http.Handler], and in process, to loops over [Subscription.Events].
// Every event is published on topics; a subscriber gets the events of its
// topics in the order of their IDs, each once. A subscriber that was away, or
// that was too slow for its queue, goes on after the last ID it has, from the
// [Store]. What the Store no longer holds, the subscriber is told:
// [Options.Gap] stands in its place.
//
//	b := broker.New(&broker.Options{Topics: broker.QueryTopics("topic", "news", "weather")})
//	http.Handle("GET /events", b)
//	id, err := b.Publish(ctx, sse.Event{Data: "sunny"}, "weather")
//
// All settings are [Options], and all have defaults: Topics decides who may see
// what; Snapshot and Backlog what newcomers get; Store how far back clients can
// resume, and whether a restart interrupts them; Slow and the Queue limits what
// becomes of who is too slow; MaxSubscribers, MaxPerCaller and MaxAge how much
// there may be; Detach, FlushInterval and Compress are for large crowds.
//
// # How an event flows
//
// Publish lets the Store append the event, which gives it its ID, encodes it,
// and hands the encoded frame to the shards. A shard is a goroutine that owns a
// part of the subscribers; there is one per core. What comes for a subscriber
// over HTTP that is idle is written by a worker of the shard, which writes to
// one after the other, all there is for it with one write and one flush. What
// comes meanwhile is put into the subscriber's bounded queue, as is everything
// for a loop over Events. A worker that has to wait for a subscriber is relieved
// after some milliseconds, and from then on that subscriber has a goroutine of
// its own, until it has kept up for a while. So nobody waits for a subscriber for
// longer than that: one whose queue is full is the business of [Options.Slow].
//
// # The order of a stream
//
// The cursor of a subscriber is the ID of the last event that it has: what it
// brings as Last-Event-ID, and what [Broker.Resume] is given.
//
// A subscriber without a cursor gets [Options.Snapshot] or else
// [Options.Backlog], then a block that sets its last event ID to the newest
// there is, then the events as they are published. So it has a cursor from the
// first moment. A subscriber with a good cursor gets the events after it. One
// whose cursor is unknown or too old gets [Options.Gap], then either the Snapshot and
// the block, or all events that the Store holds.
//
// An idle stream gets a heartbeat: a comment, or, if events of other topics
// have moved the newest ID, a block that sets it.
package broker
