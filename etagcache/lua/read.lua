-- KEYS: 1 the entry   ARGV: as in prelude.lua

if not entry.e then
  move(fresh)
end
if redis.call('PTTL', key) < retention / 2 then
  keep()
end
return answer('OK')
