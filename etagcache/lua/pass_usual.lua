-- Takes the first pass on an entry that nobody writes (pass.lua).

local function usual()
  if not (generation_stands() and ARGV[4] == marked[6] and server_stands() and entry_stands() and leases == 0 and
      not entry.h and not entry.l and not entry.q and spent_stands()) then
    return nil
  end
  local held, n, seen, forgotten = {}, 0, {}, number(entry.d) or 0
  for _, value in pairs(variants) do
    local at, known = string.match(value, '^(%d+) (%d+) ')
    if not at then
      return nil
    end
    forgotten = math.max(forgotten, at - known)
    local id = identity(value)
    if id ~= '' and not seen[id] then
      seen[id] = true
      held[#held + 1] = id
    end
    n = n + 1
  end
  if n >= max_variants or count + n > max_spent then
    return nil
  end
  table.sort(held)
  held = lag > 0 and table.concat(held, ' ') or ''

  entry.e = ARGV[9]
  local set = { 'e', ARGV[9], 'p:' .. ARGV[9], string.format('%.0f.%07d', now + lease_asked, lease_asked) }
  if lag > 0 then
    set[5], set[6] = 'l', text(lag)
  end
  if held ~= '' then
    set[#set + 1] = 'h'
    set[#set + 1] = held
  end
  redis.call('HSET', key, unpack(set))
  if entry.w then
    redis.call('HDEL', key, 'w')
    wake()
  end
  keep(lease_asked + noted_lag)
  entry.d = text(forgotten) -- only in the reply
  return shown(lease_asked, held, noted_lag)
end
