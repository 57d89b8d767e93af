-- Ends a claim or pass, and returns the entry.
-- KEYS: 1 the entry, 2 the marker   ARGV: 9 the field of the grant (c: or p: and its
-- token), 10 the epoch that begins now if nothing else has moved the epoch,
-- 11 whether the resource has changed ('' for no),
-- 12 the variant observed, 13 what was observed ('' for nothing), 14 its Vary, 15 its
-- identity, 16 whether it is proven ('' for no), 17 the receipt ('' for none),
-- 18 the backend's own tag of what was observed ('' for none); the identities of
-- further states that were replaced follow

local name, settled, changed = ARGV[9], ARGV[10], ARGV[11] ~= ''
local variant, value, vary, id, proven = ARGV[12], ARGV[13], ARGV[14], ARGV[15], ARGV[16] ~= ''
local receipt, backend_tag = ARGV[17], ARGV[18]
-- The epoch that begins if something else has moved it, for example an invalidation.
local settled_after_move = settled .. '.'

join()

if not leases[name] then
  if entry.e == settled or entry.e == settled_after_move then
    return answer('OK') -- repeated
  end
  return { 'LOST' }
end
release(name)
-- The grant's token was the epoch that began with it.
local still_quiet = noted_quiet()
local alone = entry.e == string.sub(name, 3) or still_quiet
if next(spent) and not next(leases) then
  spending().let_go(alone and not changed and 0 or now + lag)
end
if changed then
  for i = 19, #ARGV do
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
      entry.r = receipt
      redis.call('HSET', key, 'r', receipt)
    end
  end
end
move(alone and settled or settled_after_move)
if entry.u and not next(leases) then
  redis.call('HDEL', key, 'u')
elseif still_quiet and not changed then
  redis.call('HSET', key, 'u', entry.e)
end
keep()
return answer('OK')
