package sse

import "time"

// Event is one server-sent event. (First sketch: the encoder follows.)
type Event struct {
	ID    string
	Type  string
	Data  string
	Retry time.Duration
}
