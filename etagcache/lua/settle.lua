-- KEYS: 1 the entry, 2 the marker   ARGV: 6 the kind of the grant and its token,
-- 7 the epoch that the end begins, 8 the epoch under which the variants stand (''
-- for none), 9 the variant observed, 10 what was observed ('' for nothing),
-- 11 its Vary

local name, settled, epoch = ARGV[6], ARGV[7], ARGV[8]
local variant, value, vary = ARGV[9], ARGV[10], ARGV[11]

join()

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
