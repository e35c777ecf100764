package broker

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestAShardWaitsForThePublisherForATwentiethOfItsWork(t *testing.T) {
	s := &shard{inbox: make(chan op, 1), publishing: make(chan struct{}, 1)}
	looks := func() (n int) {
		before := s.looks
		assert.False(t, s.more())
		return before - s.looks
	}
	s.work = 100 * writeTime
	s.setPatience()
	assert.Equal(t, maxIdle+1, looks(), "nobody is in Publish")

	s.publishing <- struct{}{}
	patience := int(100 * writeTime / 20 / lookTime)
	assert.Equal(t, patience-maxIdle-1, looks(), "what is left for these events")
	assert.Zero(t, looks())

	s.setPatience() // a flush of nothing
	assert.Equal(t, patience, looks())
	s.work = time.Hour
	s.setPatience()
	assert.Equal(t, int(maxWait/lookTime), looks())

	s.setPatience()
	s.inbox <- op{}
	assert.True(t, s.more())
	assert.Equal(t, int(maxWait/lookTime), s.looks)
	<-s.inbox
	s.alone = true
	s.patience, s.work = 0, time.Hour
	s.setPatience()
	assert.Zero(t, looks())
}
