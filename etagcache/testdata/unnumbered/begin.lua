-- Begins a generation if the last one has ended.
-- KEYS: 1 the marker   ARGV: as in generation.lua

begin()
return { 'OK' }
