package redisstore_test

import (
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/broker/redisstore"
	"github.com/fanfare-go/fanfare/sse"
)

func TestAnAppendThatGetsNoAnswerIsNotSentAgain(t *testing.T) {
	t.Parallel()
	e := startEngine(t)
	client := redis.NewClient(&redis.Options{Addr: e.addr(), ReadTimeout: 100 * time.Millisecond, MaxRetries: 3})
	defer func() { require.NoError(t, client.Close()) }()
	s := open(t, client, redisstore.Options{})
	add(t, s, "1")
	e.hang()
	_, err := s.Append(t.Context(), sse.Event{Data: "2"}, []string{"a"})
	require.Error(t, err)
	e.unhang()
	require.True(t, waitFor(5*time.Second, func() bool { return client.Ping(t.Context()).Err() == nil }))
	time.Sleep(100 * time.Millisecond) // for what was sent
	assert.Equal(t, []string{"1", "2"}, held(t, s), "the server took what it was sent, once")
}

func TestAStreamThatIsDeletedBeginsAnotherEpoch(t *testing.T) {
	t.Parallel()
	e, name := startEngine(t), newName()
	client := connect(t, e.addr())
	s := open(t, client, redisstore.Options{Name: name})
	ids := add(t, s, "1", "2")
	for _, key := range []string{"events", "epoch"} {
		require.NoError(t, client.Del(t.Context(), "{"+name+"}:"+key).Err())
		ids = append(ids, add(t, s, "3")...)
		newest := ids[len(ids)-1]
		for _, id := range ids[:len(ids)-1] {
			assert.Negative(t, s.Compare(id, newest))
			for _, err := range s.Range(t.Context(), broker.Query{After: id}) {
				assert.ErrorIs(t, err, broker.ErrGap)
			}
		}
	}
}
