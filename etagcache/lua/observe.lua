-- Stores what a response showed.
-- KEYS: 1 the entry, 2 the marker   ARGV: 6 the epoch read before, 7 the variant,
-- 8 what was known about it then ('' for nothing), 9 what was observed, 10 the Vary

local epoch, variant, known, value, vary = ARGV[6], ARGV[7], ARGV[8], ARGV[9], ARGV[10]

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
keep()
if stored and stored ~= value and stored ~= known then
  drop()
  move(fresh)
  return { 'STALE' }
end
local changed = not stored and known ~= '' and known ~= value
if changed then
  drop()
end
if store(variant, value, vary) or changed then
  move(fresh)
end
return { 'OK' }
