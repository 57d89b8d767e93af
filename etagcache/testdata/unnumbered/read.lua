-- Returns the entry, and creates it if there is none.
-- KEYS: 1 the entry, 2 the marker   ARGV: as in prelude.lua

join()
create()
if redis.call('PTTL', key) < retention / 2 then
  keep()
end
return answer('OK')
