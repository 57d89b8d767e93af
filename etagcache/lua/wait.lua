-- KEYS: 1 the entry   ARGV: 4 the epoch seen
-- Returns for how many ms there is something to wait for.

local epoch = ARGV[4]

if entry.e ~= epoch then
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
