-- Stores what a response showed of an entry that nobody writes and whose epoch stands, if
-- nothing else was known of the variant (observe.lua).

local function usual()
  if not (generation_stands() and server_stands() and entry_stands() and entry.e == ARGV[9] and leases == 0 and
      not entry.h and spent_stands()) or mentions(ARGV[14]) then
    return nil
  end
  local variant, known, value, vary, backend_tag = ARGV[10], ARGV[11], ARGV[12], ARGV[13], ARGV[15]
  local field = 'v:' .. variant
  local at, before, old = string.match(variants[field] or '', '^(%d+) (%d+) (.*)$')
  local count = 0
  for _ in pairs(variants) do
    count = count + 1
  end
  if variants[field] and old ~= value or not old and known ~= '' and known ~= value or
      count > 0 and vary ~= (entry.y or '') or count >= max_variants then
    return nil
  end
  variants[field] = stored(value, old and at - before)
  if backend_tag ~= '' then
    redis.call('HSET', key, field, variants[field], 'y', vary, 'b:' .. variant, backend_tag)
  else
    redis.call('HSET', key, field, variants[field], 'y', vary)
    if backend_tags['b:' .. variant] then
      redis.call('HDEL', key, 'b:' .. variant)
    end
  end
  keep(0)
  return { 'OK' }
end
