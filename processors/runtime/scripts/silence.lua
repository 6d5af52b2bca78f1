-- Silence a source, or end its silence; silences that have ended go first.
--
-- KEYS  1 silences hash
-- ARGV  1 source   2 its silence ("" ends it)   3 most silences
-- Returns {status, {source, silence, ...}}, all that there are then; the status is "OK", "NONE" (it was not silenced),
-- or "FULL".
--
-- Invariant: there are never more than the most, however many write.

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local held = redis.call('HGETALL', KEYS[1])
for index = 1, #held, 2 do
  local read, silence = pcall(cjson.decode, held[index + 1])
  if not read or type(silence) ~= 'table' or (tonumber(silence['until']) or 0) <= now then
    redis.call('HDEL', KEYS[1], held[index])
  end
end

local status = 'OK'
if ARGV[2] == '' then
  status = redis.call('HDEL', KEYS[1], ARGV[1]) == 1 and 'OK' or 'NONE'
elseif redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[3]) then
  status = 'FULL'
else
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
end
return {status, redis.call('HGETALL', KEYS[1])}
