package redisstore

import (
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/sse"
)

// The fields of an event. Its data and type are there as they are; the topics
// are escaped as in a URL's query, so that they may be any bytes.
const (
	fieldAfter  = "after"  // Redis's own ID of the newest entry before it; see appendScript
	fieldTopics = "topics" // separated by commas
	fieldType   = "type"
	fieldRetry  = "retry"
	fieldData   = "data"
)

// entry is what the stream holds at one place.
type entry struct {
	at      position
	after   position // of the entry before it; zero if that is not known
	message broker.Message
	foreign bool // no event: something else added it
}

// follows reports whether there was nothing between what is at p and e.
//
// The count alone could not tell what a server has lost from what it has given the
// same number since.
func (e *entry) follows(p position) bool {
	if e.after == (position{}) {
		return e.at.sequence == p.sequence+1 // something else has added it
	}
	return e.after == p
}

// wanted reports whether e is an event of one of these topics; nil is all.
func (e *entry) wanted(topics []string) bool {
	return !e.foreign && (topics == nil || slices.ContainsFunc(e.message.Topics, func(topic string) bool {
		return slices.Contains(topics, topic)
	}))
}

// encode returns ev as the fields and values of a stream's entry.
func encode(ev sse.Event, topics []string) []any {
	fields := []any{fieldTopics, escapeAll(topics)}
	if ev.Type != "" {
		fields = append(fields, fieldType, ev.Type)
	}
	if ev.Retry != 0 {
		fields = append(fields, fieldRetry, ev.Retry.String())
	}
	return append(fields, fieldData, ev.Data)
}

// decode returns what the stream holds at a place.
func decode(at position, fields map[string]string) entry {
	topics, err := unescapeAll(fields[fieldTopics])
	if _, ok := fields[fieldTopics]; !ok || err != nil {
		return entry{at: at, foreign: true}
	}
	e := entry{at: at}
	if after := fields[fieldAfter]; after != "" {
		e.after = parseInStream(at.epoch, after)
	}
	ev := sse.Event{ID: at.String(), Type: fields[fieldType], Data: fields[fieldData]}
	if retry := fields[fieldRetry]; retry != "" {
		if ev.Retry, err = time.ParseDuration(retry); err != nil {
			return entry{at: at, foreign: true}
		}
	}
	e.message = broker.Message{Event: ev, Topics: topics}
	return e
}

func escapeAll(topics []string) string {
	escaped := make([]string, len(topics))
	for i, topic := range topics {
		escaped[i] = url.QueryEscape(topic)
	}
	return strings.Join(escaped, ",")
}

func unescapeAll(escaped string) ([]string, error) {
	topics := strings.Split(escaped, ",")
	for i := range topics {
		var err error
		if topics[i], err = url.QueryUnescape(topics[i]); err != nil {
			return nil, err
		}
	}
	return topics, nil
}
