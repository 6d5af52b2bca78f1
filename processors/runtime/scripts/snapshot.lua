#!lua flags=no-writes
-- Read hashes and streams of one slot as plain values.
--
-- KEYS  hashes, then streams
-- ARGV  1 how many of them are hashes
-- Returns for each hash its fields and values in turn; for each stream {the newest id that it ever gave, its entries},
--         {} if it is not there
--
-- Invariant: all of it is of one moment. Changes nothing.

local answer = {}
for number, key in ipairs(KEYS) do
  if number <= tonumber(ARGV[1]) then
    answer[number] = redis.call('HGETALL', key)
  elseif redis.call('EXISTS', key) == 0 then
    answer[number] = {}
  else
    local info = redis.call('XINFO', 'STREAM', key)
    local top
    for i = 1, #info, 2 do
      if info[i] == 'last-generated-id' then
        top = info[i + 1]
      end
    end
    answer[number] = {top, redis.call('XRANGE', key, '-', '+')}
  end
end
return answer
