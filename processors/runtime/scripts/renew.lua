#!lua flags=allow-oom
-- Keep leases, or give them back.
--
-- KEYS  meta hashes: any of one server, of one slot on a cluster
-- ARGV  1 lease, ms; 0 gives them back   then the token of each key
-- Returns {server ms, number of each key (from 1) that is lost to a newer token ...}
--
-- Invariant: only the newest token's holder changes anything. A lease that ran out while nobody else took it is kept.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local answer = {now}
local lease_until = ARGV[1] == '0' and 0 or now + tonumber(ARGV[1])
for index, key in ipairs(KEYS) do
  if redis.call('HGET', key, 'token') == ARGV[index + 1] then
    redis.call('HSET', key, 'lease_until', lease_until)
  else
    answer[#answer + 1] = index
  end
end
return answer
