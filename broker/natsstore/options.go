package natsstore

import (
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Options are the settings of a [Store]. The limits are those of the stream,
// all hold at once, and the oldest events go first. All processes that share a
// stream should give the same: the last to open it sets them.
type Options struct {
	// Name is the name of the stream and the first token of its subjects: it
	// may not contain blanks, control characters, or any of ".*>/\". "":
	// "fanfare".
	Name string

	// MaxEvents is how many events are held. 0: a million. Negative: no limit.
	MaxEvents int

	// MaxBytes is how many bytes the stream may take on each server. 0: 1 GiB.
	// Negative: no limit.
	MaxBytes int

	// MaxAge is how long an event is held. 0 or negative: no limit.
	MaxAge time.Duration

	// Duplicates is how long an ID that a publisher gave is remembered, so that
	// a second event with it is refused. 0: 2 minutes. Negative: not at all.
	// It is not longer than MaxAge.
	Duplicates time.Duration

	// Replicas is how many servers of a cluster hold each event: 3 survive the
	// loss of one. At most 5. 0 or negative: 1.
	Replicas int

	// PageSize is how many events Range reads at a time, and Follow ahead, at
	// most 1024. 0 or negative: 256.
	PageSize int
}

func (o *Options) withDefaults() Options {
	var d Options
	if o != nil {
		d = *o
	}
	if d.Name == "" {
		d.Name = "fanfare"
	}
	if d.MaxEvents == 0 {
		d.MaxEvents = 1_000_000
	}
	if d.MaxBytes == 0 {
		d.MaxBytes = 1 << 30
	}
	if d.Duplicates == 0 {
		d.Duplicates = 2 * time.Minute
	}
	if d.MaxAge > 0 {
		d.Duplicates = min(d.Duplicates, d.MaxAge)
	}
	if d.PageSize <= 0 {
		d.PageSize = 256
	}
	d.PageSize = min(d.PageSize, 1024)
	d.Replicas = max(d.Replicas, 1)
	return d
}

// configure sets in cfg what this package relies on, and the limits. The rest
// of an existing stream stays: its placement, its storage, its mirrors.
func (o *Options) configure(cfg jetstream.StreamConfig) jetstream.StreamConfig {
	cfg.Name = o.Name
	cfg.Subjects = []string{o.Name + ".*"}
	cfg.Retention = jetstream.LimitsPolicy
	cfg.Discard = jetstream.DiscardOld
	cfg.MaxMsgsPerSubject = -1
	cfg.AllowDirect = true
	cfg.MaxMsgs = int64(max(o.MaxEvents, -1))
	cfg.MaxBytes = int64(max(o.MaxBytes, -1))
	cfg.MaxAge = max(o.MaxAge, 0)
	cfg.Duplicates = max(o.Duplicates, 0)
	cfg.Replicas = o.Replicas
	return cfg
}
