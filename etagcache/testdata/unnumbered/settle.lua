-- Ends a claim or pass.
-- KEYS: 1 the entry, 2 the marker   ARGV: 7 the field of the grant (c: or p: and its
-- token), 8 the epoch that begins now, 9 whether the resource has changed ('' for no),
-- 10 the variant observed, 11 what was observed ('' for nothing), 12 its Vary, 13 its
-- identity, 14 whether it is proven ('' for no), 15 the receipt ('' for none),
-- 16 the backend's own tag of what was observed ('' for none); the identities of
-- further states that were replaced follow

local name, settled, changed = ARGV[7], ARGV[8], ARGV[9] ~= ''
local variant, value, vary, id, proven = ARGV[10], ARGV[11], ARGV[12], ARGV[13], ARGV[14] ~= ''
local receipt, backend_tag = ARGV[15], ARGV[16]

join()

if not leases[name] then
  return { entry.e == settled and 'OK' or 'LOST' } -- OK: repeated
end
release(name)
-- The grant's token was the epoch that began with it.
local alone = entry.e == string.sub(name, 3)
if next(spent) and not next(leases) then
  spending().let_go(alone and not changed and 0 or now + lag)
end
if changed then
  for i = 17, #ARGV do
    spending().spend(ARGV[i], now + lag)
  end
  drop(now + lag)
elseif not alone then
  drop()
end
if alone and string.sub(name, 1, 2) == 'c:' and value ~= '' then
  if proven and next(spent) then
    spending().unspend(id)
  end
  if proven or not watching() or not spending().is_spent(id, value) then
    store(variant, value, vary, backend_tag)
    if receipt ~= '' then
      redis.call('HSET', key, 'r', receipt)
    end
  end
end
move(settled)
keep()
return { 'OK' }
