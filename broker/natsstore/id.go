package natsstore

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
)

// position is the place of an event in the order, and what its ID says. The
// zero position is before all others.
type position struct {
	epoch    uint64 // when the stream was made, in microseconds: a stream made anew counts from 1 again
	sequence uint64 // JetStream's, from 1 on without a hole
}

func (p position) String() string { return fmt.Sprintf("%d-%d", p.epoch, p.sequence) }

// parse returns the zero position if id is not one that this Store gives.
func parse(id string) position {
	epoch, sequence, _ := strings.Cut(id, "-")
	var p position
	var ok [2]bool
	p.epoch, ok[0] = number(epoch)
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
	return cmp.Or(cmp.Compare(p.epoch, q.epoch), cmp.Compare(p.sequence, q.sequence))
}

func (p position) before(q position) bool { return p.compare(q) < 0 }

// Compare orders two IDs: see [broker.Follower]. IDs of a stream that was made
// later come after those of the one it replaced.
func (s *Store) Compare(a, b string) int { return parse(a).compare(parse(b)) }
