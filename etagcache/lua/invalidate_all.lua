-- Invalidates all entries beside a marker.
-- KEYS: 1 the marker   ARGV: as in generation.lua
-- If the generation has ended, there is nothing to do: the next one invalidates
-- everything when it begins.

if id then
  redis.call('HSET', marker, 'id', fresh, 'all', text(now))
end
return { 'OK' }
