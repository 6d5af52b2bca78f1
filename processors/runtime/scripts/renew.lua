#!lua flags=allow-oom
-- Keep leases, or give them back.
--
-- KEYS  meta hashes: any of one server, of one slot on a cluster
-- ARGV  1 lease, ms; 0 gives them back   then the token of each key
-- Returns {server ms, number of each key (from 1) that is lost to a newer token, or with the server ...}
--
-- Invariant: only the newest token's holder changes anything. A lease that ran out while nobody else took it is kept. A
-- token is of one run of the server: one that was started again, or took over, may lack what its holder has written and
-- read, who would wait for ever behind an id that is gone.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
local answer = {now}
local lease_until = ARGV[1] == '0' and 0 or now + tonumber(ARGV[1])
for index, key in ipairs(KEYS) do
  local held = redis.call('HMGET', key, 'token', 'run_id')
  if held[1] == ARGV[index + 1] and held[2] == run then
    redis.call('HSET', key, 'lease_until', lease_until)
  else
    answer[#answer + 1] = index
  end
end
return answer
