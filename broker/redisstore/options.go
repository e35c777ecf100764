package redisstore

import "time"

// Options are the settings of a [Store]. The limits all hold at once, and the
// oldest events go first, each time one is appended. All processes that share a
// stream should give the same.
type Options struct {
	// Name is what the keys begin with, in braces, so that a cluster keeps
	// them together: {Name}:events is the stream. "": "fanfare".
	Name string

	// MaxEvents is how many events are held. Redis holds them in memory, and
	// has no limit in bytes. 0: 100,000. Negative: no limit.
	MaxEvents int

	// MaxAge is how long an event is held; older ones go when the next event
	// is appended. 0 or negative: no limit.
	MaxAge time.Duration

	// Approximate lets Redis hold more than the limits, as many events as are
	// in one node of its tree (stream-node-max-entries, 100): it then drops
	// whole nodes, which is cheaper.
	Approximate bool

	// Duplicates is how long an ID that a publisher gave is remembered, so that
	// a second event with it is refused. Each is a key in Redis. 0: 2 minutes.
	// Negative: not at all.
	Duplicates time.Duration

	// PageSize is how many events Range and Follow read at a time. 0 or
	// negative: 256.
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
		d.MaxEvents = 100_000
	}
	if d.Duplicates == 0 {
		d.Duplicates = 2 * time.Minute
	}
	if d.PageSize <= 0 {
		d.PageSize = 256
	}
	return d
}
