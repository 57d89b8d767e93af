-- Begins a generation if the last one has ended.
-- KEYS: 1 the marker   ARGV: as in generation.lua
-- Returns whether it began, for how many ms more there is a grace, and why.

begin()
return { 'OK', began and 1 or 0, grace_left(), why }
