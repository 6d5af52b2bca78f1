#!lua flags=no-writes
-- Tell who owns a partition, and what waits for it. Changes nothing; the waiting entries stay where they are.
--
-- KEYS  1 meta   2 events
-- ARGV  1 most entries that are counted
-- Returns {owner, "" if no lease holds; entries after the committed position; ms since the oldest of them came, 0 if none;
--          epoch; n; position; commits of old tokens}
--
-- Invariant: all of it is of one moment.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local meta = redis.call('HMGET', KEYS[1], 'owner', 'lease_until', 'pos', 'epoch', 'n', 'fenced')
local owner = meta[1]
if not owner or tonumber(meta[2] or '0') <= now then
  owner = ''
end
local waiting = redis.call('XRANGE', KEYS[2], '(' .. (meta[3] or '0-0'), '+', 'COUNT', ARGV[1])
local oldest = waiting[1] and tonumber(string.match(waiting[1][1], '^%d+')) or now
return {owner, #waiting, math.max(0, now - oldest), meta[4] or '', meta[5] or '0', meta[3] or '0-0', meta[6] or '0'}
