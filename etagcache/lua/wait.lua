-- KEYS: 1 the entry, 2 the marker   ARGV: 6 the epoch seen
-- Returns for how many ms there is something to wait for.

local epoch = ARGV[6]

if entry.e ~= epoch or entry.g ~= generation() then
  return { 'OK', 0 }
end
if busy() > 0 and reserved() > 0 then
  reserve() -- a claim waits for its turn: no more passes until then
end
local left = wait()
if left > 0 and not entry.w then
  redis.call('HSET', key, 'w', '1')
end
return { 'OK', left }
