-- Publish one source batch into one partition: all of it, once, or not at all.
--
-- KEYS  1 events stream   2 cursors hash   3 published digests hash   4 meta hash
-- ARGV  1 collector   2 expected cursor ("" if none)   3 new cursor   4 most bytes the stream may take
--       5 ts   6 body (a JSON array, "" if this partition gets no events)
--       7 number of digests to set, then key, digest pairs   then the number of digests to remove, then their keys
--       then, if the batch is traced, its traceparent
-- Returns {"OK", entry id, server ms} | {"CONFLICT", actual cursor, server ms} | {"FULL", bytes, server ms}
--
-- Invariant: the cursor in a partition names exactly what that partition's stream holds of the source. Everything is
-- checked before the first write: neither MULTI nor Lua rolls back.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local actual = redis.call('HGET', KEYS[2], ARGV[1]) or ''
if actual ~= ARGV[2] then
  return {'CONFLICT', actual, now}
end

local sets = tonumber(ARGV[7])
local removals = tonumber(ARGV[8 + 2 * sets])
local traceparent = ARGV[9 + 2 * sets + removals]
if #ARGV ~= 8 + 2 * sets + removals + (traceparent and 1 or 0) then
  return redis.error_reply('publish: digests do not add up')
end

local body = ARGV[6]
if body ~= '' then
  local limit = tonumber(ARGV[4])
  local used = redis.call('MEMORY', 'USAGE', KEYS[1]) or 0
  if used + #body > limit then
    -- What was committed may go before its retention is over; what was not, never.
    local committed = redis.call('HGET', KEYS[4], 'pos')
    if committed then
      redis.call('XTRIM', KEYS[1], 'MINID', committed)
      used = redis.call('MEMORY', 'USAGE', KEYS[1]) or 0
    end
    if used + #body > limit then
      return {'FULL', used, now}
    end
  end
end

local id = ''
if body ~= '' then
  local entry = {'v', '1', 't', 'events', 'ts', ARGV[5], 'd', body}
  if traceparent then
    entry[9], entry[10] = 'tp', traceparent
  end
  id = redis.call('XADD', KEYS[1], '*', unpack(entry))
end
for i = 1, sets do
  redis.call('HSET', KEYS[3], ARGV[6 + 2 * i], ARGV[7 + 2 * i])
end
for i = 1, removals do
  redis.call('HDEL', KEYS[3], ARGV[8 + 2 * sets + i])
end
redis.call('HSET', KEYS[2], ARGV[1], ARGV[3])
return {'OK', id, now}
