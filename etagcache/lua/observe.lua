-- KEYS: 1 the entry   ARGV: 4 the epoch read before, 5 the variant,
-- 6 what was known of it then ('' for nothing), 7 what was observed, 8 the Vary

local epoch, variant, known, value, vary = ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8]
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
