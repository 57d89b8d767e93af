-- Ends a claim or pass.
-- KEYS: 1 the entry, 2 the marker   ARGV: 6 the field of the grant (c: or p: and its
-- token), 7 the epoch that begins now, 8 the epoch that began with the claim ('' for
-- a pass), 9 whether the resource has changed ('' for no), 10 the variant observed,
-- 11 what was observed ('' for nothing), 12 its Vary, 13 the receipt ('' for none)

local name, settled, epoch, changed = ARGV[6], ARGV[7], ARGV[8], ARGV[9] ~= ''
local variant, value, vary, receipt = ARGV[10], ARGV[11], ARGV[12], ARGV[13]

join()

if not leases[name] then
  return { entry.e == settled and 'OK' or 'LOST' } -- OK: repeated
end
release(name)
local alone = entry.e == epoch
if not alone or changed then
  drop()
end
if alone and value ~= '' then
  store(variant, value, vary)
  if receipt ~= '' then
    redis.call('HSET', key, 'r', receipt)
  end
end
move(settled)
keep()
return { 'OK' }
