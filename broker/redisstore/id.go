package redisstore

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// position is the place of an event in the order, and what its ID says. The
// zero position is before all others.
type position struct {
	epoch uint64 // when the stream was made, in microseconds: a stream made anew counts from 1 again

	// The two halves of Redis's own ID.
	time     uint64 // in milliseconds, never less than in the ID before
	sequence uint64 // from 1 on without a hole
}

func (p position) String() string { return fmt.Sprintf("%d-%s", p.epoch, p.inStream()) }

// inStream returns Redis's own ID.
func (p position) inStream() string { return fmt.Sprintf("%d-%d", p.time, p.sequence) }

// parse returns the zero position if id is not one that this Store gives.
func parse(id string) position {
	epoch, inStream, _ := strings.Cut(id, "-")
	n, ok := number(epoch)
	if !ok {
		return position{}
	}
	return parseInStream(n, inStream)
}

// parseInStream is parse for Redis's own ID.
func parseInStream(epoch uint64, id string) position {
	time, sequence, _ := strings.Cut(id, "-")
	p := position{epoch: epoch}
	var ok [2]bool
	p.time, ok[0] = number(time)
	p.sequence, ok[1] = number(sequence)
	if !ok[0] || !ok[1] {
		return position{}
	}
	return p
}

// number reads what %d writes.
func number(s string) (n uint64, ok bool) {
	n, err := strconv.ParseUint(s, 10, 64)
	return n, err == nil && (s[0] != '0' || s == "0")
}

func (p position) compare(q position) int {
	return cmp.Or(cmp.Compare(p.epoch, q.epoch), cmp.Compare(p.time, q.time), cmp.Compare(p.sequence, q.sequence))
}

func (p position) before(q position) bool { return p.compare(q) < 0 }

// Compare orders two IDs: see [broker.Follower]. IDs of a stream that was made
// later come after those of the one it replaced.
func (s *Store) Compare(a, b string) int { return parse(a).compare(parse(b)) }
