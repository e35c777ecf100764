package natsstore

import (
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/fanfare-go/fanfare/broker"
	"github.com/fanfare-go/fanfare/sse"
)

// The headers of an event. Its data is the payload, as it is; what stands in a
// header is escaped as in a URL's query, so that it may be any bytes.
const (
	headerTopics = "Fanfare-Topics" // separated by commas
	headerType   = "Fanfare-Type"
	headerRetry  = "Fanfare-Retry"
)

// entry is what the stream holds at one place.
type entry struct {
	at      position
	message broker.Message
	foreign bool // no event: something else published it
}

// follows reports whether there is nothing between what is at p and e.
func (e *entry) follows(p position) bool { return e.at.sequence == p.sequence+1 }

// wanted reports whether e is an event of one of these topics; nil is all.
func (e *entry) wanted(topics []string) bool {
	return !e.foreign && (topics == nil || slices.ContainsFunc(e.message.Topics, func(topic string) bool {
		return slices.Contains(topics, topic)
	}))
}

// encode returns ev as a message of a stream with this name.
func encode(name string, ev sse.Event, topics []string) *nats.Msg {
	m := nats.NewMsg(name + "." + token(topics))
	m.Data = []byte(ev.Data)
	m.Header.Set(headerTopics, escapeAll(topics))
	if ev.Type != "" {
		m.Header.Set(headerType, url.QueryEscape(ev.Type))
	}
	if ev.Retry != 0 {
		m.Header.Set(headerRetry, ev.Retry.String())
	}
	return m
}

// decode returns what the stream holds at a place.
func decode(at position, header nats.Header, data []byte) entry {
	topics, err := unescapeAll(header.Get(headerTopics))
	if _, ok := header[headerTopics]; !ok || err != nil {
		return entry{at: at, foreign: true}
	}
	ev := sse.Event{ID: at.String(), Data: string(data)}
	if ev.Type, err = url.QueryUnescape(header.Get(headerType)); err != nil {
		return entry{at: at, foreign: true}
	}
	if retry := header.Get(headerRetry); retry != "" {
		if ev.Retry, err = time.ParseDuration(retry); err != nil {
			return entry{at: at, foreign: true}
		}
	}
	return entry{at: at, message: broker.Message{Event: ev, Topics: topics}}
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

// maxToken keeps subjects well below the length of a line of the protocol.
const maxToken = 256

// token returns the second token of the subject of an event, for those who
// watch the stream with other means; this package reads the header instead.
// Topics are not mistaken for one another: what is not a letter, a digit, "-" or
// "_" is written as "=" and its two hexadecimal digits, the empty topic as "=".
// All events of several topics, or of a long one, have "==".
func token(topics []string) string {
	if len(topics) > 1 {
		return "=="
	}
	topic := strings.Join(topics, "")
	if topic == "" {
		return "="
	}
	var b strings.Builder
	for i := range len(topic) {
		switch c := topic[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
			b.WriteByte(c)
		default:
			const digits = "0123456789ABCDEF"
			b.WriteByte('=')
			b.WriteByte(digits[c>>4])
			b.WriteByte(digits[c&15])
		}
	}
	if b.Len() > maxToken {
		return "=="
	}
	return b.String()
}
