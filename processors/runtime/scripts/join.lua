#!lua flags=allow-oom
-- Say that an aggregator runs, or that it ends, and hear of all that run.
--
-- KEYS  1 members (sorted set: aggregator, server ms when it was last heard of)
-- ARGV  1 who says so   2 ms without a word after which one is gone; 0: this one goes
-- Returns {server ms, member ...}
--
-- Invariant: none that writing depends on; leases and tokens protect. The members only say how to share.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local patience = tonumber(ARGV[2])
if patience == 0 then
  redis.call('ZREM', KEYS[1], ARGV[1])
else
  redis.call('ZADD', KEYS[1], now, ARGV[1])
  redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. (now - patience))
  -- Heard of by a clock that went back since, or by that of the server before this one.
  redis.call('ZREMRANGEBYSCORE', KEYS[1], '(' .. (now + patience), '+inf')
end
return {now, unpack(redis.call('ZRANGE', KEYS[1], 0, 999))}
