package redisstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"
)

// A script is what Redis does at once, with nothing in between. KEYS[1] is the
// stream, KEYS[2] its epoch.
type script struct{ source, hash string }

func newScript(source string) script {
	return script{source, redis.NewScript(source).Hash()}
}

// prelude makes the stream and its epoch unless both are there. The epoch is
// Redis's time, but never one that was before, whatever the clock does.
const prelude = `
if redis.call('EXISTS', KEYS[1], KEYS[2]) < 2 then
	local now = redis.call('TIME')
	local epoch = math.max(now[1] * 1000000 + now[2], (tonumber(redis.call('GET', KEYS[2]) or 0) or 0) + 1)
	redis.call('XGROUP', 'CREATE', KEYS[1], 'fanfare', '$', 'MKSTREAM')
	redis.call('XGROUP', 'DESTROY', KEYS[1], 'fanfare')
	redis.call('SET', KEYS[2], string.format('%.0f', epoch))
end
local epoch = redis.call('GET', KEYS[2])
local info = {}
local flat = redis.call('XINFO', 'STREAM', KEYS[1])
for i = 1, #flat, 2 do
	info[flat[i]] = flat[i + 1]
end
`

// appendScript adds an entry and trims the stream. KEYS[3], if given, is where
// the ID is remembered that the publisher gave. ARGV: how many events are held
// (0: all), for how many milliseconds (0: for ever), "=" or "~" (how exactly),
// for how many milliseconds the ID is remembered; from 5 on the fields. It
// returns the ID, and 1 if it is remembered and nothing was added. What is
// remembered of another epoch went with its stream.
//
// The entry's ID is Redis's time, for MINID to go by, and a count without a
// hole, by which a reader sees that something is missing. The ID before it tells
// what a server has lost, in a failover say, from what has got the same number
// since.
var appendScript = newScript(prelude + `
if KEYS[3] then
	local id = redis.call('GET', KEYS[3])
	if id and string.sub(id, 1, #epoch + 1) == epoch .. '-' then
		return {id, 1}
	end
end
local time, sequence = string.match(info['last-generated-id'], '^(%d+)-(%d+)$')
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local id = string.format('%.0f-%.0f', math.max(now, tonumber(time)), tonumber(sequence) + 1)
redis.call('XADD', KEYS[1], id, 'after', info['last-generated-id'], unpack(ARGV, 5))
if tonumber(ARGV[1]) > 0 then
	redis.call('XTRIM', KEYS[1], 'MAXLEN', ARGV[3], ARGV[1])
end
if tonumber(ARGV[2]) > 0 then
	redis.call('XTRIM', KEYS[1], 'MINID', ARGV[3], string.format('%.0f', math.max(now - ARGV[2], 0)))
end
id = epoch .. '-' .. id
if KEYS[3] then
	redis.call('SET', KEYS[3], id, 'PX', ARGV[4])
end
return {id, 0}
`)

// askScript reads entries and the state. ARGV: XRANGE or XREVRANGE, its two
// ends, how many entries, of about how many bytes. It returns the epoch, the newest
// ID, the oldest held, and the entries.
//
// It reads a few at a time, so that the last of them make it no more than a few
// entries too large.
var askScript = newScript(prelude + `
local entries, from = {}, ARGV[2]
local left, bytes, few = tonumber(ARGV[4]), tonumber(ARGV[5]), 1
while left > 0 and bytes > 0 do
	local some = redis.call(ARGV[1], KEYS[1], from, ARGV[3], 'COUNT', math.min(few, left))
	if #some == 0 then
		break
	end
	for _, entry in ipairs(some) do
		entries[#entries + 1] = entry
		from = '(' .. entry[1]
		left = left - 1
		for _, value in ipairs(entry[2]) do
			bytes = bytes - #value
		end
	end
	few = math.min(2 * few, 8)
end
return {epoch, info['last-generated-id'], info['recorded-first-entry-id'], entries}
`)

// run runs a script and stores what it returns in answer: pointers to what is
// to be at each place.
func (s *Store) run(ctx context.Context, sc script, keys []string, args []any, answer ...any) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	// The client does not look at ctx while it waits for the server.
	type result struct {
		values []any
		err    error
	}
	done := make(chan result, 1) // sent to once, never closed
	go func() {
		values, err := s.evaluate(ctx, sc, keys, args)
		done <- result{values, err}
	}()
	var r result
	select {
	case r = <-done:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if r.err != nil {
		return fail(ctx, r.err)
	}
	if len(r.values) != len(answer) {
		return fmt.Errorf("redisstore: the server's answer has %d values, want %d", len(r.values), len(answer))
	}
	for i, v := range r.values {
		ok := false
		switch p := answer[i].(type) {
		case *string:
			*p, ok = v.(string)
		case *int64:
			*p, ok = v.(int64)
		case *[]any:
			*p, ok = v.([]any)
		}
		if !ok {
			return fmt.Errorf("redisstore: the server's answer has a %T as value %d, want %T", v, i, answer[i])
		}
	}
	return nil
}

func (s *Store) evaluate(ctx context.Context, sc script, keys []string, args []any) ([]any, error) {
	values, err := s.once(ctx, "evalsha", sc.hash, keys, args)
	if errors.Is(err, redis.ErrNoScript) || redis.HasErrorPrefix(err, "NOSCRIPT") {
		values, err = s.once(ctx, "eval", sc.source, keys, args)
	}
	return values, err
}

func (s *Store) once(ctx context.Context, command, sc string, keys []string, args []any) ([]any, error) {
	all := []any{command, sc, len(keys)}
	for _, key := range keys {
		all = append(all, key)
	}
	cmd := unrepeated{redis.NewCmd(ctx, append(all, args...)...)}
	cmd.SetFirstKeyPos(3)
	_ = s.client.Process(ctx, cmd) // the same error as Slice returns
	return cmd.Slice()
}

// unrepeated is a command that the client does not send again when it gets no
// answer: an event could be stored twice.
type unrepeated struct{ *redis.Cmd }

func (unrepeated) NoRetry() bool { return true }
