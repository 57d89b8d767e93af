-- Stores what a response showed.
-- KEYS: 1 the entry, 2 the marker   ARGV: 9 the epoch read before, 10 the variant,
-- 11 what was known about it then ('' for nothing), 12 what was observed, 13 the Vary,
-- 14 the identity of what was observed, 15 the backend's own tag ('' for none)
-- What this drops isn't spent: nobody knows which of two states that reads have shown
-- is the older one.

local epoch, variant, known, value, vary, id = ARGV[9], ARGV[10], ARGV[11], ARGV[12], ARGV[13], ARGV[14]
local backend_tag = ARGV[15]

join()
local stored = observed(variant)

if entry.e == fresh and stored == value then
  return { 'OK' } -- repeated
end
if entry.e ~= epoch then
  return { 'STALE' }
end
if busy() > 0 then
  return { 'BUSY' }
end
if watching() and spending().is_spent(id, value) then
  return { 'SPENT' }
end
if stored and stored ~= value and stored ~= known then
  drop()
  move(fresh)
  keep()
  return { 'STALE' }
end
local changed = not stored and known ~= '' and known ~= value
if changed then
  drop()
end
if store(variant, value, vary, backend_tag) or changed then
  move(fresh)
end
keep()
return { 'OK' }
