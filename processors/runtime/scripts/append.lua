#!lua flags=allow-oom
-- Add to a merged stream, once: the newest summary, or what was gathered from the partitions.
--
-- KEYS  1 stream   2 meta hash of its writer
-- ARGV  1 token   2 expected n   3 type   4 ts   5 retention, ms   6 most entries
--       7 traceparent ("" if this is not traced)
--       8 number of entries, then their bodies   then pairs (partition, id up to which it was gathered)
-- Returns {"OK", n, id of the last entry, server ms} | {"FENCED", server ms} | {"MOVED", n, server ms}
--
-- Invariant: one writer at a time, of the server's present run, and every entry's n is one more than the one before it;
-- what was gathered from a partition, and how far, change together. The stream is the writer's alone: where somebody else
-- used up its ids, it begins anew.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local meta = redis.call('HMGET', KEYS[2], 'token', 'n', 'last_ms', 'epoch', 'run_id')
if meta[1] ~= ARGV[1] then
  return {'FENCED', now}
end
-- A server that was started again may lack what was read from it: then it comes again, under another id.
if meta[5] ~= string.match(redis.call('INFO', 'server'), 'run_id:(%x+)') then
  return {'FENCED', now}
end
if meta[2] ~= ARGV[2] then
  return {'MOVED', meta[2], now}
end
local count = tonumber(ARGV[8])
if not count or #ARGV < 8 + count or (#ARGV - 8 - count) % 2 ~= 0 then
  return redis.error_reply('append: the entries do not add up')
end

local n = tonumber(meta[2])
local ms = math.max(now, tonumber(meta[3] or '0'))
local id = ''
redis.call('XTRIM', KEYS[1], 'MINID', '~', string.format('%d', ms - tonumber(ARGV[5])))
for i = 9, 8 + count do
  n = n + 1
  id = string.format('%d-%d', ms, n)
  local entry = {'MAXLEN', '~', ARGV[6], id, 'v', '1', 't', ARGV[3], 'ts', ARGV[4], 'e', meta[4], 'd', ARGV[i]}
  if ARGV[7] ~= '' then
    entry[#entry + 1] = 'tp'
    entry[#entry + 1] = ARGV[7]
  end
  local added = redis.pcall('XADD', KEYS[1], unpack(entry))
  if type(added) == 'table' and added.err then
    -- A stream refuses ids that are not above its newest.
    redis.call('DEL', KEYS[1])
    redis.call('XADD', KEYS[1], unpack(entry))
  end
end
redis.call('HSET', KEYS[2], 'n', n, 'last_ms', string.format('%d', ms))
for i = 9 + count, #ARGV, 2 do
  redis.call('HSET', KEYS[2], 'from:' .. ARGV[i], ARGV[i + 1])
end
return {'OK', n, id, now}
