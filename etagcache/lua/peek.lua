-- Returns the entry as it is, if there is one, and changes nothing but what time has changed.
-- KEYS: 1 the entry, 2 the marker   ARGV: as in prelude.lua
-- Returns for how many ms it is kept, whether there is a claim, the number of passes, and
-- the entry; or nothing.

local held = 0
for _ in pairs(leases) do
  held = held + 1
end
if not entry.e or entry.g ~= generation() then
  if held == 0 then
    return { 'OK' }
  end
  entry.e, entry.y, entry.r = entry.e or '', nil, nil -- join would keep only the leases
  variants, backend_tags = {}, {}
end
local claim = claimed() and 1 or 0
return { 'OK', redis.call('PTTL', key), claim, held - claim, answer('OK') }
