-- Invalidates an entry.
-- KEYS: 1 the entry, 2 the marker   ARGV: as in prelude.lua
-- Returns 1 if there was something to invalidate. A repeated call returns 0.

local invalidated = entry.e and (lapsed or entry.e ~= fresh)

join()
if entry.e and entry.e ~= fresh then
  drop(now + lag)
  move(fresh)
  keep()
end
return { 'OK', invalidated and 1 or 0 }
