package broker

import (
	"context"
	"log/slog"
	"time"
)

// logBegin and the others that follow are called by goroutines of the
// subscriber, not by workers: a Logger may take its time.
func (st *stream) logBegin() {
	if log := st.sub.b.opts.Logger; log.Enabled(st.ctx, slog.LevelDebug) {
		log.LogAttrs(st.ctx, slog.LevelDebug, "broker: stream begins",
			slog.String("remote", st.sub.remote), slog.Any("topics", st.sub.topics), slog.String("after", st.sub.position))
	}
}

func (st *stream) logEnd(err error) {
	s := &st.sub
	log := s.b.opts.Logger
	if !log.Enabled(st.ctx, slog.LevelDebug) {
		return
	}
	reason := s.reasonToEnd(err)
	log.LogAttrs(st.ctx, slog.LevelDebug, "broker: stream ends",
		slog.String("remote", s.remote), slog.Any("topics", s.topics), slog.String("reason", reason),
		slog.Duration("lasted", (s.b.age()-s.since).Round(time.Millisecond)), slog.Uint64("delivered", s.total.Load()+s.delivered))
}

// reasonToEnd says what err means, with which s ends.
func (s *Subscription) reasonToEnd(err error) string {
	s.b.order.Lock()
	defer s.b.order.Unlock()
	if err != ErrClosed && s.ending != endClient { // whatever a write to it failed with
		return err.Error()
	}
	return s.ending.String()
}

// logSlow says that the queue was full, and what follows from it: the first
// time at info level, then at debug level, as it may go on for long.
func (s *Subscription) logSlow(ctx context.Context, then string) {
	level := slog.LevelInfo
	if s.wasSlow {
		level = slog.LevelDebug
	}
	s.wasSlow = true
	if log := s.b.opts.Logger; log.Enabled(ctx, level) {
		s.b.order.Lock()
		topics := s.topics
		s.b.order.Unlock()
		log.LogAttrs(ctx, level, "broker: subscriber is slow", slog.String("remote", s.remote),
			slog.Any("topics", topics), slog.String("then", then), slog.Uint64("delivered", s.total.Load()+s.delivered))
	}
}
