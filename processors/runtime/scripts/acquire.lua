#!lua flags=allow-oom
-- Become the one writer of a partition or of a merged stream, if nobody else is.
--
-- KEYS  1 meta hash
-- ARGV  1 owner (random, one a process)   2 lease, ms   3 a fresh epoch, used if one is due
-- Returns {"OK", token, epoch, n, position, server ms} | {"HELD", ms until the lease ends, server ms}
--
-- Invariant: of all tokens ever given for this key, the newest is in `token`, and only its holder can commit. The epoch is
-- new when the hash is (it was wiped), or when the server is another process than the one that wrote it (its newest
-- writes may be lost). n goes on growing all the same.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
local meta = redis.call('HMGET', KEYS[1], 'owner', 'lease_until', 'run_id', 'epoch', 'n', 'pos', 'counter')
local owner, lease_until, run_id, epoch = meta[1], tonumber(meta[2] or '0'), meta[3], meta[4]
-- One that ends later than any is given for is of a clock that went back since, or of the server before this one.
if owner and owner ~= ARGV[1] and lease_until > now and lease_until <= now + 2 * tonumber(ARGV[2]) then
  return {'HELD', lease_until - now, now}
end
if not epoch or run_id ~= run then
  epoch = ARGV[3]
end
local counter = (tonumber(meta[7] or '0')) + 1
local token = epoch .. ':' .. counter .. ':' .. ARGV[1]
local n, pos = meta[5] or '0', meta[6] or '0-0'
redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'lease_until', now + tonumber(ARGV[2]), 'run_id', run,
  'epoch', epoch, 'counter', counter, 'token', token, 'n', n, 'pos', pos)
return {'OK', token, epoch, n, pos, now}
