-- Registers a waiter.
-- KEYS: 1 the entry, 2 the marker   ARGV: 7 the epoch seen,
-- 8 whether the wait is for a pass ('' for no)
-- Returns for how many ms there is something to wait for.

local epoch, passing = ARGV[7], ARGV[8] ~= ''

if entry.e ~= epoch or entry.g ~= generation() then
  return { 'OK', 0 }
end
local left
if passing and not claimed() then
  left = math.max(grace_left(), reserved())
else
  if busy() > 0 and reserved() > 0 then
    reserve() -- a claim waits for the passes to end: grant no more until then
  end
  left = wait()
end
if left > 0 and not entry.w then
  redis.call('HSET', key, 'w', '1')
end
return { 'OK', left }
