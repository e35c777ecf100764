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

// A model yields the tokens of an answer. An error is the last element: the answer
// is not whole, because the model failed or ctx has ended.
type model func(ctx context.Context, prompt string) iter.Seq2[string, error]

// toy returns a model whose tokens come each pace after the one before.
func toy(pace time.Duration) model {
	return func(ctx context.Context, prompt string) iter.Seq2[string, error] {
		return func(yield func(string, error) bool) {
			for _, token := range strings.SplitAfter(fmt.Sprintf(wisdom, prompt), " ") {
				select {
				case <-time.After(pace): // it thinks
				case <-ctx.Done():
					yield("", ctx.Err())
					return
				}
				if !yield(token, nil) {
					return
				}
			}
		}
	}
}
