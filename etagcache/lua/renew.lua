-- Renews a claim or pass, or restores it during a grace.
-- KEYS: 1 the entry, 2 the marker   ARGV: 9 the field of the grant (c: or p: and its
-- token)

local name = ARGV[9]
local conflict = claimed() or passed() and string.sub(name, 1, 2) == 'c:'

join()
local restored = not leases[name]
if restored and (grace_left() == 0 or conflict) then
  return { 'LOST' }
end
hold(name)
if restored then
  spending().spend('*', 0) -- what the write replaces has been forgotten
end
keep()
return { 'OK' }
