package broker

// A map of the package for whoever reads its code. There is no code here.
//
// # The way of an event
//
//	Publish          Store.Append gives the ID       publish.go
//	  │ publish lock                                 follow.go, window.go: with a Follower
//	handOver         to shards with a subscriber     publish.go, register.go (interest)
//	  │ order lock
//	shard.inbox      one channel, one goroutine      shard.go
//	deliver, gather  to groups, by topic             group.go, batch.go
//	flush, emit      to registrations                queue.go
//	  │
//	  ├─ direct      the shard writes to the socket  direct.go, detach.go
//	  └─ push, put   what the slow policy says       queue.go, conflate.go
//	       post      the subscriber's turn           turn.go
//	       ├─ carried, to a worker                   errand.go
//	       │    plainTurn: one write, no more        turn.go
//	       │    drain: all else                      drain.go
//	       ├─ queued, to its own goroutine           serve.go (spawn, resume)
//	       └─ queued, to a loop over Events          drain.go (wait), subscription.go
//
// So there are four ways to a subscriber, and which one an event takes is settled
// where it is posted:
//
//   - Direct. The subscriber is detached, parked, and nothing is in its way. The shard
//     writes, and what the socket does not take makes it one of the third kind.
//   - Carried. It is parked, over HTTP. A worker of the shard takes one after the
//     other of those that have something to get, and parks each again.
//   - Its own goroutine. It has not parked since, or it is slow, or it begins, catches
//     up, or ends. What comes meanwhile is queued. It parks when nothing is left.
//   - A loop. It is in process, never parked, and waits for its queue.
//
// The fast ways, plainTurn and loop.wait, do what drain would with an event that has
// nothing missing before it. They leave everything else to drain: whoever changes
// what drain does with such an event has three places to look at.
//
// # What comes before the queue
//
// A subscription is in one of the stages of stage: fresh, resuming, lost or live.
// What is not live is in replay.go: it asks the Store for what comes before
// Subscription.through, the newest ID when it was registered, while the queue fills
// with what comes after. Whose queue is full under CatchUp goes back to resuming.
// change.go is about who changes its topics meanwhile, setback.go about a history that
// is not what it was.
//
// # Who owns what
//
//   - The publish lock orders Store.Append. It is held while the Store is asked.
//   - The order lock makes the one order: of IDs, of hand-overs to all the shards, and
//     of who begins and ends where in it. It is never held over I/O.
//   - A shard owns its groups, their batches, and the first part of each registration.
//   - A turn owns what has been handed out: a Subscription's stage, position, handed,
//     seen, held and laidOut, and its stream. It is that of one goroutine or, while
//     registration.busy is 0, of the shard, which is why a heartbeat, and an event for a
//     detached subscriber, need no other. Who hands it over does so by busy alone: the
//     shard by setting it to 1, the goroutine by park. After that nothing may be touched.
//   - The queue is sent to and closed by the shard alone. Closed, it says "look for the
//     reason": Subscription.closed, or registration.behind.
//   - The write deadline, and the connection, are under guard.mu: who ends a Broker has
//     to free a write that is blocked in another goroutine.
//
// # How it ends
//
// Nothing is told to end but by its queue: Subscription.closeLocked has the shard close
// that, after what was handed over before. The goroutine, or a loop, finds it closed
// in drain and returns the reason up through run; for a stream, conclude says goodbye.
// Whoever is parked then is given a turn for it. shutdown.go has the order in which
// the parts of a Broker end.
