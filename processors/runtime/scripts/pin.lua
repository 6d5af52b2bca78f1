-- Pin a node id to a key, or note the newest manifest of a pinned one: compare and set.
--
-- KEYS  1 pins hash
-- ARGV  1 node id   2 expected pin ("" if none)   3 new pin   4 most pins that a new one may find
-- Returns {"OK", server ms} | {"MOVED", actual pin ("" if none), server ms} | {"FULL", server ms}
--
-- Invariant: a pin changes only for a reader that has seen what it replaces, so of two keys that claim a node id at the
-- same moment one is pinned, and of two manifests with the same number one is taken.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local actual = redis.call('HGET', KEYS[1], ARGV[1]) or ''
if actual ~= ARGV[2] then
  return {'MOVED', actual, now}
end
if actual == '' and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[4]) then
  return {'FULL', now}
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return {'OK', now}
