package redisstore

import (
	"context"
	"fmt"
	"strconv"

	"github.com/fanfare-go/fanfare/broker"
)

// maxPageBytes is about how many bytes a page has at most, unless one event alone is
// larger: an answer has to be there within the client's ReadTimeout, however slow the
// network is.
const maxPageBytes = 1 << 20

// begin returns where a reader begins that has seen everything up to an ID,
// and the state.
func (s *Store) begin(ctx context.Context, after string) (state, cursor, error) {
	at := parse(after)
	st, entries, err := s.ask(ctx, "XRANGE", at.inStream(), "+", 1)
	if err != nil || after == "" {
		return st, cursor{}, err
	}
	// The event is held, or the one before the oldest held, or the newest, or
	// none yet. A cursor in between was never given.
	held := len(entries) > 0 && entries[0].at == at
	evicted := len(entries) > 0 && at.sequence > 0 && at.sequence+1 == st.first && entries[0].follows(at)
	if at.epoch != st.last.epoch || !held && !evicted && at != st.last && at != (position{epoch: at.epoch}) || at.sequence+1 < st.first {
		return state{}, cursor{}, broker.ErrGap
	}
	return st, cursor{at: at, begun: true, strict: true}, nil
}

// read returns the next entries after c, at most a page, and moves c to the
// last of them. It returns none where the history ends.
func (s *Store) read(ctx context.Context, c *cursor) ([]entry, error) {
	st, entries, err := s.page(ctx, c.at)
	if err != nil {
		return nil, err
	}
	entries, err = c.advance(st, entries)
	if len(entries) > 0 || err != nil {
		return entries, err
	}
	return nil, c.skip(st)
}

// back returns the entries before end, newest first, at most a page. It
// returns none where the history begins.
func (s *Store) back(ctx context.Context, end position) ([]entry, error) {
	st, entries, err := s.ask(ctx, "XREVRANGE", "("+end.inStream(), "-", s.opts.PageSize)
	if err != nil || end.epoch != st.last.epoch {
		return nil, err
	}
	return entries, nil
}

// page reads the entries after a place, and the state at the same moment.
func (s *Store) page(ctx context.Context, after position) (state, []entry, error) {
	return s.ask(ctx, "XRANGE", "("+after.inStream(), "+", s.opts.PageSize)
}

// ask reads up to n entries between two ends, and the state.
func (s *Store) ask(ctx context.Context, command, from, to string, n int) (state, []entry, error) {
	var raw struct {
		epoch, last, first string
		entries            []any
	}
	err := s.run(ctx, askScript, s.keys(), []any{command, from, to, n, maxPageBytes}, &raw.epoch, &raw.last, &raw.first, &raw.entries)
	if err != nil {
		return state{}, nil, err
	}
	epoch, err := strconv.ParseUint(raw.epoch, 10, 64)
	if err != nil {
		return state{}, nil, fmt.Errorf("redisstore: the key %s is not an epoch: %w", s.key("epoch"), err)
	}
	st := state{last: parseInStream(epoch, raw.last), first: parseInStream(epoch, raw.first).sequence}
	if st.first == 0 {
		st.first = st.last.sequence + 1
	}
	entries := make([]entry, len(raw.entries))
	for i, e := range raw.entries {
		id, fields, ok := split(e)
		if !ok {
			return state{}, nil, fmt.Errorf("redisstore: the server's answer has no entry as entry %d", i)
		}
		entries[i] = decode(parseInStream(epoch, id), fields)
	}
	return st, entries, nil
}

// split takes an entry of XRANGE apart: an ID, and fields and values in turn.
func split(e any) (id string, fields map[string]string, ok bool) {
	pair, _ := e.([]any)
	if len(pair) != 2 {
		return "", nil, false
	}
	id, ok = pair[0].(string)
	flat, _ := pair[1].([]any)
	fields = make(map[string]string)
	for i := 0; i+1 < len(flat); i += 2 {
		field, _ := flat[i].(string)
		fields[field], _ = flat[i+1].(string)
	}
	return id, fields, ok
}
