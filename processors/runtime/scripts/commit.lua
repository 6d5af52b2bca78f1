#!lua flags=allow-oom
-- One atomic step of a partition: consumed up to a position, and everything that follows from it.
--
-- KEYS  1 meta   2 events   3 state   4 peers   5 changes   6 partials   7 feed   8 dead   9 parked
-- ARGV  1 token   2 expected n   3 expected position   4 new position   5 retention, ms   6 ts   7 partial   8 changes ("")
--       9 traceparent ("" if this is not traced)   then seven lists, each its length and its values:
--         state to set (field, value)   state to remove   rows to set (id, row)   rows to remove   feed (type, body)
--         dead bodies   ids of parked entries that were folded   and last the entries to park, each as its field count
--         and its fields and values
-- Returns {"OK", n, entry id, server ms} | {"FENCED", server ms} | {"MOVED", n, position, server ms}
--
-- Invariant: n, position, state, roster and what is told of them change together or not at all. Everything is checked
-- before the first write, because nothing rolls back. Trimming comes first: on a full server it makes the room. What
-- is not committed by this step or an earlier one is never trimmed. A commit with an old token changes nothing but the
-- count of those, one that is ahead of what is committed nothing but the name of the server. The streams that it adds to
-- are the owner's alone: where somebody else used up their ids, they begin anew.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local meta = redis.call('HMGET', KEYS[1], 'token', 'n', 'pos', 'last_ms', 'changes_id', 'epoch')
if meta[1] ~= ARGV[1] then
  if meta[1] then
    redis.call('HINCRBY', KEYS[1], 'fenced', 1)
  end
  return {'FENCED', now}
end
if meta[2] ~= ARGV[2] or meta[3] ~= ARGV[3] then
  if tonumber(meta[2] or '0') < tonumber(ARGV[2]) then
    -- An older copy was put in its place: the next owner begins a new epoch, as after another server.
    redis.call('HDEL', KEYS[1], 'run_id')
  end
  return {'MOVED', meta[2], meta[3], now}
end

-- Where each list begins and ends; an argument that is missing or too much is refused here.
local at = 10
local whole = true
local function list(width)
  local length = tonumber(ARGV[at])
  if not length then
    whole = false
    length = 0
  end
  local first = at + 1
  at = first + length * width
  return {first, length}
end
local state_sets, state_removals, row_sets, row_removals = list(2), list(1), list(2), list(1)
local feed, dead, unparked = list(2), list(1), list(1)
local parked = {}
local parked_count = tonumber(ARGV[at])
at = at + 1
for i = 1, parked_count or 0 do
  parked[i] = list(2)
end
if not whole or not parked_count or at ~= #ARGV + 1 then
  return redis.error_reply('commit: the lists do not add up')
end

-- A key of another type is an error here, and not when half is written.
redis.call('HLEN', KEYS[3])
redis.call('HLEN', KEYS[4])
-- What was read may be gone: a server that took over may never have had it. Then it comes again, under another id.
if ARGV[4] ~= ARGV[3] and #redis.call('XRANGE', KEYS[2], ARGV[4], ARGV[4]) == 0 then
  return {'MOVED', meta[2], meta[3], now}
end

local n = meta[2] + 1
-- The clock of the server may have gone back since; ids may not.
local ms = math.max(now, tonumber(meta[4] or '0'))
local id = string.format('%d-%d', ms, n)
local kept = string.format('%d', ms - tonumber(ARGV[5]))

local function before(a, b)
  local a_ms, a_seq = string.match(a, '(%d+)%-?(%d*)')
  local b_ms, b_seq = string.match(b, '(%d+)%-?(%d*)')
  a_ms, b_ms = tonumber(a_ms), tonumber(b_ms)
  return a_ms < b_ms or (a_ms == b_ms and (tonumber(a_seq) or 0) < (tonumber(b_seq) or 0))
end
redis.call('XTRIM', KEYS[2], 'MINID', '~', before(kept, ARGV[4]) and kept or ARGV[4])
if (redis.call('MEMORY', 'USAGE', KEYS[2]) or 0) > 8388608 then
  -- Collectors are refused before it comes to this; foreign producers ask nobody, and may name ids that never grow old.
  redis.call('XTRIM', KEYS[2], 'MINID', ARGV[4])
end

-- Streams that this commit adds to are cut to their age and their size first.
local function bound(key, age_ms, bytes)
  redis.call('XTRIM', key, 'MINID', '~', string.format('%d', math.max(0, ms - age_ms)))
  if (redis.call('MEMORY', 'USAGE', key) or 0) > bytes then
    redis.call('XTRIM', key, 'MAXLEN', math.floor(redis.call('XLEN', key) / 2))
  end
end
local week = 7 * 24 * 3600 * 1000
if ARGV[8] ~= '' then
  -- Whoever comes back finds the last two minutes of the roster, if they fit into eight megabytes. Whoever looks at the
  -- past finds as much as of all else where that is little: above a megabyte the older half goes.
  local age = tonumber(ARGV[5])
  if (redis.call('MEMORY', 'USAGE', KEYS[5]) or 0) > 1048576 then
    local oldest = redis.call('XRANGE', KEYS[5], '-', '+', 'COUNT', 1)[1]
    age = math.min(age, math.floor((ms - string.match(oldest[1], '^%d+')) / 2))
  end
  bound(KEYS[5], math.max(120000, age), 8388608)
end
if feed[2] > 0 then
  bound(KEYS[7], tonumber(ARGV[5]), 4194304)
end
if dead[2] > 0 then
  bound(KEYS[8], week, 1048576)
end
if parked_count > 0 then
  bound(KEYS[9], week, 2097152)
end

-- A call for some hundred fields costs a third of a call for each; one `unpack` takes some thousand at most.
local function change(command, key, first, last)
  for i = first, last, 1000 do
    redis.call(command, key, unpack(ARGV, i, math.min(i + 999, last)))
  end
end
change('HDEL', KEYS[3], state_removals[1], state_removals[1] + state_removals[2] - 1)
change('HSET', KEYS[3], state_sets[1], state_sets[1] + 2 * state_sets[2] - 1)
change('HDEL', KEYS[4], row_removals[1], row_removals[1] + row_removals[2] - 1)
change('HSET', KEYS[4], row_sets[1], row_sets[1] + 2 * row_sets[2] - 1)

-- A stream refuses ids that are not above its newest, and any after the last possible one.
local function add(key, ...)
  local added = redis.pcall('XADD', key, ...)
  if type(added) == 'table' and added.err then
    redis.call('DEL', key)
    redis.call('XADD', key, ...)
  end
end

-- What follows from this commit carries on its trace.
local function tell(key, ...)
  local entry = {...}
  if ARGV[9] ~= '' then
    entry[#entry + 1] = 'tp'
    entry[#entry + 1] = ARGV[9]
  end
  add(key, unpack(entry))
end

local epoch = meta[6]
if ARGV[8] ~= '' then
  tell(KEYS[5], id, 'v', '1', 't', 'roster', 'ts', ARGV[6], 'e', epoch, 'prev', meta[5] or '0-0',
    'd', ARGV[8])
  redis.call('HSET', KEYS[1], 'changes_id', id)
end
tell(KEYS[6], 'MAXLEN', '~', '16', id, 'v', '1', 't', 'partial', 'ts', ARGV[6], 'e', epoch, 'd', ARGV[7])
for i = feed[1], feed[1] + 2 * feed[2] - 1, 2 do
  tell(KEYS[7], '*', 'v', '1', 't', ARGV[i], 'ts', ARGV[6], 'd', ARGV[i + 1])
end
for i = dead[1], dead[1] + dead[2] - 1 do
  add(KEYS[8], '*', 'v', '1', 't', 'dead', 'ts', ARGV[6], 'd', ARGV[i])
end
for i = unparked[1], unparked[1] + unparked[2] - 1 do
  redis.call('XDEL', KEYS[9], ARGV[i])
end
for _, span in ipairs(parked) do
  add(KEYS[9], '*', unpack(ARGV, span[1], span[1] + 2 * span[2] - 1))
end

redis.call('HSET', KEYS[1], 'n', n, 'pos', ARGV[4], 'last_ms', string.format('%d', ms))
if ARGV[4] == '18446744073709551615-18446744073709551615' then
  -- No id is left after this one, which some producer chose: nobody could add to the stream any more. All of it is
  -- consumed, so it begins anew; without its token the owner has to take the partition up again, from the beginning.
  redis.call('DEL', KEYS[2])
  redis.call('HSET', KEYS[1], 'pos', '0-0', 'token', '')
end
return {'OK', n, id, now}
