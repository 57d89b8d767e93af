-- KEYS: 1 the marker   ARGV: as in generation.lua
-- Where no generation is to go on, the next one has yet to begin.

if id then
  redis.call('HSET', marker, 'id', fresh)
end
return { 'OK' }
