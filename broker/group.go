package broker

import "strconv"

// A group is all registrations of a shard for the same topics in the same order.
// They get the same frames, so a frame is gathered once for all of them, and what
// it costs does not grow with their number before the flush, which hands each of
// them all that was gathered at once.
type group struct {
	topics []string
	places []int           // in the index: places[i] is that in the list of topics[i]
	regs   []*registration // regs[i].place is i
	batch  *batch          // what has come since the last flush; nil: nothing
	last   *frame          // the newest of it
}

// An entry is a group in the list of one of its topics, which is
// group.topics[which]. Lists, because a map takes several times as long to go
// through; the places make removal from the middle as cheap as from a map.
type entry struct {
	group *group
	which int
}

// join adds r to the group for topics. What has been gathered there so far came
// before it.
func (s *shard) join(r *registration, topics []string) {
	g := s.groupFor(topics)
	r.group, r.place, r.past = g, len(g.regs), g.batch
	g.regs = append(g.regs, r)
}

// part takes r out of its group, and away from what was gathered there.
func (s *shard) part(r *registration) {
	g := r.group
	end := len(g.regs) - 1
	moved := g.regs[end]
	g.regs[r.place], moved.place = moved, r.place
	g.regs[end] = nil
	g.regs = g.regs[:end]
	r.group, r.past = nil, nil
	if end == 0 {
		s.dissolve(g)
	}
}

// groupFor returns the group for topics, which has registrations already or is
// about to get one.
func (s *shard) groupFor(topics []string) *group {
	var buf [128]byte
	key := appendKey(buf[:0], topics)
	if g := s.groups[string(key)]; g != nil {
		return g
	}
	g := &group{topics: topics, places: make([]int, len(topics))}
	s.groups[string(key)] = g
	for i, topic := range topics {
		list := s.index[topic]
		g.places[i] = len(list)
		s.index[topic] = append(list, entry{g, i})
	}
	return g
}

// dissolve forgets g, which has no registration any more.
func (s *shard) dissolve(g *group) {
	var buf [128]byte
	delete(s.groups, string(appendKey(buf[:0], g.topics)))
	for i, topic := range g.topics {
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
	}
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
