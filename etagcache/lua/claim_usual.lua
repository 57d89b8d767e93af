-- Takes a claim on an entry whose epoch stands and that nobody writes, and announces one state
-- at most (claim.lua).

local function usual()
  if not (generation_stands() and ARGV[4] == marked[6] and server_stands() and entry_stands() and entry.e == ARGV[10] and
      leases == 0 and not entry.h and not entry.l and spent_stands()) then
    return nil
  end
  local held = lag > 0 and ARGV[11] or ''
  if #ARGV > 11 or held ~= '' and count >= max_spent then
    return nil
  end
  local set = { 'e', ARGV[9], 'c:' .. ARGV[9], string.format('%.0f.%07d', now + lease_asked, lease_asked) }
  if lag > 0 then
    set[5], set[6] = 'l', text(lag)
  end
  if held ~= '' then
    set[7], set[8] = 'h', held
  end
  redis.call('HSET', key, unpack(set))
  if entry.q or entry.w then
    redis.call('HDEL', key, 'q', 'w')
    wake()
  end
  keep(lease_asked + noted_lag)
  entry.e = ARGV[9]
  return with_variants(shown(lease_asked, held, noted_lag))
end
