-- KEYS: 1 the entry   ARGV: 4 the kind of the grant and its token, 5 the epoch
-- that the end begins, 6 the epoch under which the variants stand ('' for none),
-- 7 the variant observed, 8 what was observed ('' for nothing), 9 its Vary

local name, settled, epoch = ARGV[4], ARGV[5], ARGV[6]
local variant, value, vary = ARGV[7], ARGV[8], ARGV[9]

if not leases[name] then
  return { entry.e == settled and 'OK' or 'LOST' } -- OK: repeated
end
release(name)
if entry.e ~= epoch then
  drop()
elseif value ~= '' then
  store(variant, value, vary)
end
move(settled)
keep()
return { 'OK' }
