-- Takes a claim on an entry whose epoch stands and that nobody writes (claim.lua).

local function usual()
  if not (generation_stands() and ARGV[4] == marked[6] and server_stands() and entry_stands() and entry.e == ARGV[10] and
      leases == 0 and not entry.h and not entry.l and spent_stands()) then
    return nil
  end
  local set = { 'e', ARGV[9], 'c:' .. ARGV[9], string.format('%.0f.%07d', now + lease_asked, lease_asked) }
  if lag > 0 then
    set[5], set[6] = 'l', text(lag)
  end
  redis.call('HSET', key, unpack(set))
  if entry.q or entry.w then
    redis.call('HDEL', key, 'q', 'w')
    wake()
  end
  keep(lease_asked + lag)
  entry.e = ARGV[9]
  local reply = shown(lease_asked, '', lag)
  reply[7] = entry.r or ''
  for name, value in pairs(variants) do
    local variant = string.sub(name, 3)
    local tag = backend_tags['b:' .. variant]
    reply[#reply + 1] = variant
    reply[#reply + 1] = tag and { value, tag } or value
  end
  return reply
end
