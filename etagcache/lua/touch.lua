-- KEYS: 1 the entry, 2 the marker   ARGV: as in prelude.lua

join()
if entry.e and entry.e ~= fresh then
  drop()
  move(fresh)
  keep()
end
return { 'OK' }
