-- KEYS: 1 the marker   ARGV: as in generation.lua

begin()
return { 'OK' }
