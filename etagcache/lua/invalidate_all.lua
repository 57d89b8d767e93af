-- Invalidates all entries beside a marker.
-- KEYS: 1 the marker   ARGV: as in generation.lua
-- If the generation has ended, there is nothing to do: the next one invalidates
-- everything when it begins.

if id then
  redis.call('HSET', marker, 'id', fresh)
  if lag_asked > 0 then
    redis.call('HSET', marker, 'spent', text(math.max(all_spent, now + lag_asked + 1))) -- now is rounded down
  end
end
return { 'OK' }
