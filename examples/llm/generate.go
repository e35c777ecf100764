package main

import (
	"context"
	"fmt"
	"iter"
	"strings"
	"time"
)

// wisdom is what the model has learned.
const wisdom = `You ask: %q.

That is a good question, and I am a toy, so I cannot know. What I can do is to give you one token after the other, as slowly as if I thought about each.

Every token you see was an event of its own: written, flushed, and on your screen before the next one was there. If you stop me now, the server notices, and does not make up the rest. And if the connection breaks, you will not mistake what you have for all of it, because the last event says that it is the last.

Now you know more than I do.`

// generate yields the tokens of an answer, each pace after the one before,
// until the answer or ctx ends.
func generate(ctx context.Context, pace time.Duration, prompt string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, token := range strings.SplitAfter(fmt.Sprintf(wisdom, prompt), " ") {
			select {
			case <-time.After(pace): // the model thinks
			case <-ctx.Done():
				return
			}
			if !yield(token) {
				return
			}
		}
	}
}
