-- KEYS: 1 the entry   ARGV: as in prelude.lua

if entry.e and entry.e ~= fresh then
  drop()
  move(fresh)
  keep()
end
return { 'OK' }
