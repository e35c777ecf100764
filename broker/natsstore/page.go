package natsstore

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/fanfare-go/fanfare/broker"
)

// maxPageBytes is about how many bytes a page has at most, unless one event
// alone is larger: JetStream sends a page without waiting for its reader, and what
// else the connection is for waits behind it.
const maxPageBytes = 1 << 20

// A request may be answered by a replica that is behind for a moment, or by a
// leader that is. So often and so long a call waits for what is to be there.
const (
	lagTries   = 100
	aheadTries = 5 // for a cursor that may be made up, and for what may have been deleted
	lagWait    = 20 * time.Millisecond
)

// errLag ends a call that would have to wait for longer.
var errLag = errors.New("natsstore: a replica does not have what its leader has")

// begin returns where a reader begins that has seen everything up to an ID,
// and the state.
func (s *Store) begin(ctx context.Context, after string) (state, cursor, error) {
	st, err := s.look(ctx)
	if err != nil || after == "" {
		return st, cursor{}, err
	}
	at := parse(after)
	// Another process may have the event from a replica that is ahead of the
	// leader. One that is far ahead was never given.
	ahead := position{st.last.epoch, st.last.sequence + uint64(s.opts.PageSize)}
	for try := 0; try < aheadTries && at.epoch == st.last.epoch && st.last.before(at) && !ahead.before(at); try++ {
		if err := sleep(ctx, lagWait); err != nil {
			return state{}, cursor{}, err
		}
		if st, err = s.look(ctx); err != nil {
			return state{}, cursor{}, err
		}
	}
	if at.epoch != st.last.epoch || at.sequence+1 < st.first || st.last.before(at) {
		return state{}, cursor{}, broker.ErrGap
	}
	return st, cursor{at: at, begun: true, strict: true}, nil
}

// read returns the next entries after c, at most a page, and moves c to the
// last of them. It returns none where the history ends.
func (s *Store) read(ctx context.Context, c *cursor) ([]entry, error) {
	for try := 0; ; try++ {
		st, entries, err := s.page(ctx, c.at)
		if err != nil {
			return nil, err
		}
		entries, err = c.advance(st, entries)
		if len(entries) > 0 {
			s.see(c.at) // the replica that answered may be ahead of the leader
		}
		if len(entries) > 0 || err != nil {
			return entries, err
		}
		if !c.at.before(st.last) || c.at.sequence+1 < st.first {
			return nil, c.skip(st)
		}
		// There is more, or it was deleted by hand. Only the leader can say.
		if try == aheadTries {
			held, err := s.holdsAfter(ctx, c.at)
			if err != nil {
				return nil, err
			}
			if !held {
				return nil, c.skip(st)
			}
		}
		if try == lagTries {
			return nil, errLag
		}
		if err := sleep(ctx, lagWait); err != nil {
			return nil, err
		}
	}
}

// holdsAfter asks the leader whether anything after a place is held.
func (s *Store) holdsAfter(ctx context.Context, at position) (bool, error) {
	request, err := json.Marshal(map[string]any{"seq": at.sequence + 1, "next_by_subj": ">"})
	if err != nil {
		return false, fail(ctx, err)
	}
	wait, cancel := s.bound(ctx)
	defer cancel()
	m, err := s.js.Conn().RequestWithContext(wait, s.api()+".STREAM.MSG.GET."+s.opts.Name, request)
	if err != nil {
		return false, fail(ctx, err)
	}
	var answer struct {
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		return false, fail(ctx, err)
	}
	switch {
	case answer.Error == nil:
		return true, nil
	case answer.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		return false, nil
	default:
		return false, fail(ctx, answer.Error)
	}
}

// bound returns a context that ends when js gives up by default, if ctx has no end.
func (s *Store) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, s.js.Options().DefaultTimeout)
}

// api returns what the subjects of requests begin with.
func (s *Store) api() string {
	options := s.js.Options()
	if options.Domain != "" {
		return "$JS." + options.Domain + ".API"
	}
	return strings.TrimSuffix(cmp.Or(options.APIPrefix, jetstream.DefaultAPIPrefix), ".")
}

// back returns the entries before end, newest first, at most a page. It
// returns none where the history begins.
func (s *Store) back(ctx context.Context, end position) ([]entry, error) {
	for {
		st, err := s.look(ctx)
		if err != nil {
			return nil, err
		}
		if end.sequence <= st.first || end.epoch != st.last.epoch {
			return nil, nil
		}
		start := max(st.first, end.sequence-min(end.sequence, uint64(s.opts.PageSize)))
		c := cursor{at: position{end.epoch, start - 1}}
		var found []entry
		for c.at.sequence+1 < end.sequence {
			entries, err := s.read(ctx, &c)
			if err != nil {
				return nil, err
			}
			if len(entries) == 0 {
				break // the history ends there
			}
			for _, e := range entries {
				if e.at.before(end) {
					found = append(found, e)
				}
			}
		}
		if len(found) > 0 {
			slices.Reverse(found)
			return found, nil
		}
		end.sequence = start // all of these were deleted
	}
}

// page reads the entries after a place, and then the state: if the epoch is
// still the same, they are of it.
func (s *Store) page(ctx context.Context, after position) (state, []entry, error) {
	raw, err := s.get(ctx, after.sequence+1)
	if err != nil {
		return state{}, nil, err
	}
	st, err := s.look(ctx)
	if err != nil {
		return state{}, nil, err
	}
	entries := make([]entry, len(raw))
	for i, m := range raw {
		entries[i] = decode(position{st.last.epoch, sequenceOf(m, headerSequence)}, m.Header, m.Data)
	}
	return st, entries, nil
}

// The headers of the answers to a direct get of several messages, as in NATS's
// ADR-31.
const (
	headerStatus       = "Status"
	headerDescription  = "Description"
	headerSequence     = "Nats-Sequence"
	headerLastSequence = "Nats-Last-Sequence" // of the message before in the same answer
)

func sequenceOf(m *nats.Msg, header string) uint64 {
	n, _ := strconv.ParseUint(m.Header.Get(header), 10, 64) // 0, which no message has, if it is not there
	return n
}

// get asks for the messages from a sequence on, a page of them.
func (s *Store) get(ctx context.Context, from uint64) ([]*nats.Msg, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	request, err := json.Marshal(map[string]uint64{"seq": from, "batch": uint64(s.opts.PageSize), "max_bytes": maxPageBytes})
	if err != nil {
		return nil, fail(ctx, err)
	}
	nc := s.js.Conn()
	inbox := nc.NewInbox()
	answers, err := nc.SubscribeSync(inbox)
	if err != nil {
		return nil, fail(ctx, err)
	}
	defer func() { _ = answers.Unsubscribe() }() // fails only with a connection that is closed
	if err := nc.PublishRequest(s.api()+".DIRECT.GET."+s.opts.Name, inbox, request); err != nil {
		return nil, fail(ctx, err)
	}
	var page []*nats.Msg
	var last uint64 // sequence of the last message of page
	for {
		// Each has its time: a slow network needs it for every one.
		wait, cancel := s.bound(ctx)
		m, err := answers.NextMsgWithContext(wait)
		cancel()
		if err != nil {
			return nil, fail(ctx, err)
		}
		status := m.Header.Get(headerStatus)
		if status == "404" {
			return nil, nil
		}
		if status != "" && status != "204" {
			return nil, fmt.Errorf("natsstore: direct get: %s %s", status, m.Header.Get(headerDescription))
		}
		if sequenceOf(m, headerLastSequence) != last {
			return nil, errors.New("natsstore: a message was lost on the way")
		}
		if status == "204" {
			return page, nil
		}
		last = sequenceOf(m, headerSequence)
		page = append(page, m)
	}
}
