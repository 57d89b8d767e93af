-- Invalidates all entries beside a marker.
-- KEYS: 1 the marker   ARGV: as in generation.lua, 4 the lag in ms
-- If the generation has ended, there is nothing to do: the next one invalidates
-- everything when it begins.

local lag = tonumber(ARGV[4])

if id then
  redis.call('HSET', marker, 'id', fresh)
  if lag > 0 then
    redis.call('HSET', marker, 'spent', text(math.max(all_spent, now + lag + 1))) -- now is rounded down
  end
end
return { 'OK' }
