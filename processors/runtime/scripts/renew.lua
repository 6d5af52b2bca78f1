-- Keep a lease, or give it back.
--
-- KEYS  1 meta hash
-- ARGV  1 token   2 lease, ms; 0 gives it back
-- Returns {"OK", server ms} | {"FENCED", server ms}
--
-- Invariant: only the newest token's holder changes anything. A lease that ran out while nobody else took it is kept.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

if redis.call('HGET', KEYS[1], 'token') ~= ARGV[1] then
  return {'FENCED', now}
end
redis.call('HSET', KEYS[1], 'lease_until', ARGV[2] == '0' and 0 or now + tonumber(ARGV[2]))
return {'OK', now}
