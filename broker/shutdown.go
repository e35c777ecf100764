package broker

import "context"

// Shutdown ends the Broker without losing anything: it refuses further events
// and subscribers, serves everybody who is being served through the newest
// event, those who are catching up included, tells HTTP subscribers to come
// back after a spread time, and ends. If ctx ends first, it closes the Broker
// and returns the cause. Shutting down again waits for the same end; after
// Close it does nothing.
//
// [http.Server.Shutdown] waits for streams but does not end them: call
// Shutdown from a function given to [http.Server.RegisterOnShutdown], or before
// it. It also waits some seconds for connections that browsers have opened and
// not used yet; give it a context with a timeout, and call [http.Server.Close]
// after it.
//
// A Subscription over which nobody ranges at the time is not waited for. Events
// still yields what is queued for it, until Close.
func (b *Broker) Shutdown(ctx context.Context) error {
	b.refuse()
	if err := b.finish(ctx); err != nil {
		b.Close()
		return err
	}
	return nil
}

// finish is the orderly part of Shutdown.
func (b *Broker) finish(ctx context.Context) error {
	appended, err := b.lastAppended(ctx)
	if err != nil {
		return err
	}
	if b.follower != nil && appended != "" {
		b.order.Lock()
		b.last = appended
		b.reachLocked()
		b.order.Unlock()
		if err := b.awaitReturn(ctx, appended); err != nil {
			return err
		}
	}
	b.freeze()
	if err := b.wait(ctx, b.quiet); err != nil {
		return err
	}
	<-b.retireDone
	b.watcher.close()
	return b.wait(ctx, b.readDone)
}

// lastAppended waits for the Publish that is under way, whose event still
// counts, and returns the ID of the last event. The Store may hang.
func (b *Broker) lastAppended(ctx context.Context) (string, error) {
	select {
	case b.publishing <- struct{}{}:
	default:
		select {
		case b.publishing <- struct{}{}:
		case <-b.ctx.Done():
			return "", nil
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}
	defer b.unlockPublishing()
	return b.appended, nil
}

// awaitReturn waits until the event that Publish appended here last has come back
// from the Follower, unless the Follower has lost it, and so will never yield it.
func (b *Broker) awaitReturn(ctx context.Context, appended string) error {
	ctx, cancel := b.bind(ctx)
	defer cancel()
	for failures := 0; ; failures++ {
		soon, stop := context.WithTimeout(ctx, backoff(failures))
		err := b.wait(soon, b.reached)
		stop()
		if err == nil || b.ctx.Err() != nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if id, err := b.store.Last(ctx); err == nil && b.follower.Compare(id, appended) < 0 {
			return nil
		}
	}
}

// wait waits for done, for the end of ctx, or for Close, which is no error.
func (b *Broker) wait(ctx context.Context, done <-chan struct{}) error {
	select {
	case <-done: // even if ctx has ended
		return nil
	default:
	}
	select {
	case <-done:
	case <-b.ctx.Done():
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// freeze makes the newest ID the last one. The shards close all queues behind
// what is in them, and end.
func (b *Broker) freeze() {
	b.stopReading()
	b.order.Lock()
	defer b.order.Unlock()
	if b.frozen {
		return
	}
	b.frozen = true
	for _, s := range b.shards {
		s.send(op{do: (*shard).end})
	}
	b.settleLocked()
}

// settleLocked notes when a frozen Broker has served everybody.
func (b *Broker) settleLocked() {
	if b.frozen && b.serving == 0 {
		closeOnce(b.quiet)
	}
}

// reachLocked notes when what Publish appended here has come back from the
// Follower. It concerns only a Broker that shuts down.
func (b *Broker) reachLocked() {
	if b.last != "" && b.newest != "" && b.follower.Compare(b.newest, b.last) >= 0 {
		closeOnce(b.reached)
	}
}

// closeOnce closes done unless it is closed. The caller alone may close it, or holds
// the lock for that.
func closeOnce(done chan struct{}) {
	select {
	case <-done:
	default:
		close(done)
	}
}

// Close ends the Broker now: Publish and calls of the Store that are under way
// are cancelled, writes that are blocked are freed, every loop over Events ends
// with [ErrClosed]. Closing again does nothing. The error is always nil.
// A write that an HTTP/2 connection blocks as a whole is the http.Server's to free:
// see [sse.WriterOptions].
//
// Close does not wait for handlers and loops to return.
func (b *Broker) Close() error {
	b.refuse()
	b.abort()
	b.freeze()

	b.order.Lock()
	var cuts []*guard
	for s := range b.subs {
		s.closeLocked(endBroker)
	}
	for s := range b.leaving {
		cuts = append(cuts, &s.stream.guard)
	}
	b.order.Unlock()
	for _, g := range cuts {
		g.cut()
	}
	for _, s := range b.shards {
		<-s.done
	}
	<-b.retireDone
	b.watcher.close()
	return nil
}
