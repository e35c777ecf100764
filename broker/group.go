package broker

import (
	"slices"
	"strconv"
)

// A group is registrations of a shard that are for the same topics. They get the
// same frames, so a frame is gathered once for all of them, and what it costs does
// not grow with their number before the flush, which hands each of them all that
// was gathered at once.
//
// A common group is that of all who came for its topics. One whose topics have
// changed has a group of its own, so that another change is about these topics
// alone: it may be for thousands.
type group struct {
	topics []string
	places []int           // in the index: places[i] is that in the list of topics[i]
	regs   []*registration // regs[i].place is i
	batch  *batch          // what has come since the last flush; nil: nothing
	place  int             // in shard.groups
	common bool            // it is in shard.common
	dirty  bool            // it is in shard.dirty
}

// An entry is a group in the list of one of its topics, which is
// group.topics[which]. Lists, because a map takes several times as long to go
// through; the places make removal from the middle as cheap as from a map.
type entry struct {
	group *group
	which int
}

// join adds r to the common group for topics, in this order. What has been gathered
// there so far came before it.
func (s *shard) join(r *registration, topics []string) {
	var buf [128]byte
	key := appendKey(buf[:0], topics)
	g := s.common[string(key)]
	if g == nil {
		g = s.newGroup(topics)
		g.common = true
		s.common[string(key)] = g
	}
	g.add(r)
}

// newGroup returns a group for topics, which is about to get a registration.
func (s *shard) newGroup(topics []string) *group {
	g := &group{place: len(s.groups)}
	s.groups = append(s.groups, g)
	for _, topic := range topics {
		s.list(g, topic)
	}
	return g
}

// add makes r one of g, from here on.
func (g *group) add(r *registration) {
	r.group, r.place, r.past = g, int32(len(g.regs)), g.batch
	g.regs = append(g.regs, r)
}

// part takes r out of its group, and away from what was gathered there.
func (s *shard) part(r *registration) {
	g := r.group
	last := len(g.regs) - 1
	moved := g.regs[last]
	g.regs[r.place], moved.place = moved, r.place
	g.regs = slices.Delete(g.regs, last, last+1)
	r.group, r.past = nil, nil
	if last == 0 {
		s.dissolve(g)
	}
}

// dissolve forgets g, which has no registration any more.
func (s *shard) dissolve(g *group) {
	s.unshare(g)
	for len(g.topics) > 0 {
		s.unlist(g, len(g.topics)-1)
	}
	last := len(s.groups) - 1
	moved := s.groups[last]
	s.groups[g.place], moved.place = moved, g.place
	s.groups = slices.Delete(s.groups, last, last+1)
}

// unshare has nobody join g any more.
func (s *shard) unshare(g *group) {
	if g.common {
		var buf [128]byte
		delete(s.common, string(appendKey(buf[:0], g.topics)))
		g.common = false
	}
}

// ownGroup returns the group of r, which is its own from now on.
func (s *shard) ownGroup(r *registration) *group {
	g := r.group
	if len(g.regs) == 1 {
		s.unshare(g)
		return g
	}
	s.part(r)
	g = s.newGroup(g.topics)
	g.add(r)
	return g
}

// list puts g into the list of a further topic.
func (s *shard) list(g *group, topic string) {
	list := s.index[topic]
	s.index[topic] = append(list, entry{g, len(g.topics)})
	g.topics = append(g.topics, topic)
	g.places = append(g.places, len(list))
}

// unlist takes g out of the list of g.topics[i], and that out of its topics. In both
// the last takes the place.
func (s *shard) unlist(g *group, i int) {
	topic := g.topics[i]
	list := s.index[topic]
	end := len(list) - 1
	moved := list[end]
	list[g.places[i]] = moved
	moved.group.places[moved.which] = g.places[i]
	list[end] = entry{}
	if end == 0 {
		delete(s.index, topic)
	} else {
		s.index[topic] = list[:end]
	}

	last := len(g.topics) - 1
	if i != last {
		g.topics[i], g.places[i] = g.topics[last], g.places[last]
		s.index[g.topics[i]][g.places[i]].which = i
	}
	g.topics[last] = ""
	g.topics, g.places = g.topics[:last], g.places[:last]
}

// appendKey appends what tells topics from all others.
func appendKey(b []byte, topics []string) []byte {
	for _, topic := range topics {
		b = strconv.AppendInt(b, int64(len(topic)), 10)
		b = append(b, ':')
		b = append(b, topic...)
	}
	return b
}

// all yields every registration. The loop may drop the one that it is at.
func (s *shard) all(yield func(*registration) bool) {
	for i := len(s.groups) - 1; i >= 0; i-- {
		g := s.groups[i]
		for j := len(g.regs) - 1; j >= 0; j-- {
			if !yield(g.regs[j]) {
				return
			}
		}
	}
}
