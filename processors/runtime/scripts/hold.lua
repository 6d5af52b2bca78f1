#!lua flags=allow-oom
-- Say which of several collectors works a source.
--
-- KEYS  1 lease of the source
-- ARGV  1 who asks (node and a random id)   2 lease, ms   3 "take": from whoever has it; "keep": unless another has it;
--       "free": give it back
-- Returns the one who has it now, "" if nobody has
--
-- Invariant: none that counting depends on; the cursors protect. This only keeps two collectors from taking turns.

local holder = redis.call('GET', KEYS[1])
if ARGV[3] == 'take' or ((not holder or holder == ARGV[1]) and ARGV[3] == 'keep') then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  return ARGV[1]
end
if holder == ARGV[1] then
  redis.call('DEL', KEYS[1])
  return ''
end
return holder or ''
