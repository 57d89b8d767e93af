-- Renews a claim or pass, or restores it during a grace.
-- KEYS: 1 the entry, 2 the marker   ARGV: 6 the field of the grant (c: or p: and its
-- token), 7 the lease in ms

local name, lease = ARGV[6], tonumber(ARGV[7])
local conflict = claimed() or passed() and string.sub(name, 1, 2) == 'c:'

join()
if not leases[name] and (grace_left() == 0 or conflict) then
  return { 'LOST' }
end
hold(name, lease)
keep()
return { 'OK' }
