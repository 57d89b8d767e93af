-- Returns the entry, and creates it if there is none.
-- KEYS: 1 the entry, 2 the marker   ARGV: as in prelude.lua

join()
create()
local left = redis.call('PTTL', key)
if left < brief / 2 or left < retention / 2 and knows() then
  keep()
end
return answer('OK')
