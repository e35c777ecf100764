package main

import (
	"context"
	"fmt"
	"runtime"
	"time"
)

// parse measures the parsers on streams in memory.
func parse(ctx context.Context, cs []contestant, s settings, t *table) error {
	cs = those(cs, func(c contestant) bool { return c.parse != nil })
	for _, in := range streams() {
		m := t.add(measure{name: "parse " + in.name, unit: "MB/s", more: true})
		err := alternate(ctx, s.rounds, cs, func(c contestant) error {
			took, passes, err := repeat(s.duration/4, func() error {
				got, err := c.parse(in.block)
				if err != nil {
					return err
				}
				return in.check(c, got, 1)
			})
			t.note(m, c, float64(passes*len(in.block))/1e6/took.Seconds())
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// encode measures the encoders on one piece of an answer of a language model.
func encode(ctx context.Context, cs []contestant, s settings, t *table) error {
	const batch = 10_000
	cs = those(cs, func(c contestant) bool { return c.encode != nil })
	m := t.add(measure{name: "encode an LLM chunk", unit: "ns"})
	want := batch * len("data: "+chunk+"\n\n")
	return alternate(ctx, s.rounds, cs, func(c contestant) error {
		took, passes, err := repeat(s.duration/4, func() error {
			wrote, err := c.encode(chunk, batch)
			if err != nil {
				return err
			}
			// "data:" without the blank is as good.
			if wrote != want && wrote != want-batch {
				return fmt.Errorf("encoded %d bytes, not %d", wrote, want)
			}
			return nil
		})
		t.note(m, c, float64(took.Nanoseconds())/float64(passes*batch))
		return err
	})
}

// repeat does work until it has taken d of this process's CPU time, garbage
// collection included: whatever else runs on the machine takes none of that.
func repeat(d time.Duration, work func() error) (took time.Duration, passes int, err error) {
	runtime.GC() // the garbage of the one before is not this one's
	for began := clock(); took < d; took = clock() - began {
		if err := work(); err != nil {
			return took, passes, err
		}
		passes++
	}
	return took, passes, nil
}

var started = time.Now()

// clock returns this process's CPU time, or the time since it started where
// the other cannot be known.
func clock() time.Duration {
	if used, err := cpuTime(); err == nil {
		return used
	}
	return time.Since(started)
}
