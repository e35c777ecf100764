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
			runtime.GC() // the garbage of the one before is not this one's
			began, passes := time.Now(), 0
			for ; passes == 0 || time.Since(began) < s.duration/4; passes++ {
				got, err := c.parse(in.block)
				if err != nil {
					return err
				}
				if err := in.check(c, got, 1); err != nil {
					return err
				}
			}
			t.note(m, c, float64(passes*len(in.block))/1e6/time.Since(began).Seconds())
			return nil
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
		runtime.GC()
		began, n := time.Now(), 0
		for ; n == 0 || time.Since(began) < s.duration/4; n += batch {
			wrote, err := c.encode(chunk, batch)
			if err != nil {
				return err
			}
			// "data:" without the blank is as good.
			if wrote != want && wrote != want-batch {
				return fmt.Errorf("encoded %d bytes, not %d", wrote, want)
			}
		}
		t.note(m, c, float64(time.Since(began).Nanoseconds())/float64(n))
		return nil
	})
}
