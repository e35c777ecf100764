package broker

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/sse"
)

// A replay has handed out what came before an Add, and does not know yet that what
// was added has been removed.
func TestAStretchMayEndAfterARemove(t *testing.T) {
	b := New(&Options{QueueSize: 1})
	defer b.Close()
	s, err := b.Subscribe("a")
	require.NoError(t, err)
	publish := func(topics ...string) {
		for _, topic := range topics {
			_, err := b.Publish(context.Background(), sse.Event{Data: topic}, topic)
			require.NoError(t, err)
		}
	}
	publish("a")
	for range s.Events(context.Background()) {
		break
	}
	publish("a", "a", "a") // more than it has room for
	for _, topic := range []string{"b", "c"} {
		require.NoError(t, s.Add(topic))
		publish(topic)
	}
	b.reregister(s)
	s.stage, s.seen = resuming, 0
	topics, end, next := s.stretch()
	assert.Equal(t, []string{"a"}, topics)
	require.NotNil(t, next)
	s.Remove("b")
	s.endStretch(end, next)
	topics, _, next = s.stretch()
	assert.Equal(t, []string{"a"}, topics, "c was added later")
	require.NotNil(t, next)
	s.Remove("c")
	s.endStretch(end, next)
	topics, _, next = s.stretch()
	assert.Equal(t, []string{"a"}, topics)
	assert.Nil(t, next)
}
