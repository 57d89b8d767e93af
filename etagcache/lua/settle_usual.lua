-- Ends the only claim or pass on an entry whose epoch began with it, and returns the entry
-- (settle.lua).

-- replaced returns the identities of what the write has replaced, each after a space, and
-- their number; or nil if the other script must find out.
local function replaced()
  local ids, n, count = '', 0, 0
  local function add(id)
    if id ~= '' and not string.find(ids .. ' ', ' ' .. id .. ' ', 1, true) then
      ids, n = ids .. ' ' .. id, n + 1
    end
  end
  for id in string.gmatch(entry.h or '', '[^ ]+') do
    add(id)
  end
  for i = 19, #ARGV do
    add(ARGV[i])
  end
  for _, value in pairs(variants) do
    add(identity(value))
    count = count + 1
  end
  if count >= max_variants then
    return nil -- others may have been displaced
  end
  return ids, n
end

-- spend returns the field s with more states, and without the lines at its beginning that
-- are over; or nil if there are too many states, or if that lets the entry be packed.
local function spend(ids, n)
  local s, now, ends = entry.s or '', text(now), text(now + lag)
  local from = first
  while from < #s and string.sub(s, from + 1, from + 13) <= now do
    local next_line = string.find(s, '\n', from + 1, true) or #s + 1
    local _, over = string.gsub(string.sub(s, from, next_line - 1), ' ', '')
    from, count = next_line, count - over
  end
  count = count + n
  if count < n or count > max_spent then
    return nil
  end
  last = math.max(last, now + lag)
  local spent = text(count) .. ' ' .. text(last) .. string.sub(s, from) .. '\n' .. ends .. ids
  return (#spent > most_packed or #s <= most_packed) and spent or nil
end

local function usual()
  local name, changed, value = ARGV[9], ARGV[11] ~= '', ARGV[13]
  if not (generation_stands() and server_stands() and entry_stands() and leases == 1 and lease == name and lease_ends and
      lease_ends > now and entry.e == string.sub(name, 3) and not entry.u and spent_stands()) then
    return nil
  end
  lag = math.max(lag, lease_lag())

  local set, del = { 'e', ARGV[10] }, { name, 'l', 'w', 'h' }
  local function put(field, text)
    set[#set + 1] = field
    set[#set + 1] = text
  end
  if changed then
    local ids, n = replaced()
    if not ids then
      return nil
    end
    if lag > 0 and n > 0 then
      local s = spend(ids, n)
      if not s then
        return nil
      end
      entry.s = s
      put('s', s)
    end
    local forgotten = number(entry.d) or 0
    for field, value in pairs(variants) do
      local at, known = string.match(value, '^(%d+) (%d+) ')
      if not at then
        return nil
      end
      forgotten = math.max(forgotten, at - known)
      del[#del + 1] = field
    end
    for field in pairs(backend_tags) do
      del[#del + 1] = field
    end
    if next(variants) then
      entry.d = text(forgotten)
      put('d', entry.d)
    end
    del[#del + 1] = 'r'
    variants, backend_tags, entry.r = {}, {}, nil
    if value ~= '' and string.sub(name, 1, 1) == 'c' then
      if mentions(ARGV[15]) then
        return nil
      end
      local field = 'v:' .. ARGV[12]
      variants[field] = stored(value)
      put(field, variants[field])
      entry.y = ARGV[14]
      put('y', entry.y)
      if ARGV[18] ~= '' then
        backend_tags['b:' .. ARGV[12]] = ARGV[18]
        put('b:' .. ARGV[12], ARGV[18])
      end
      if ARGV[17] ~= '' then
        entry.r = ARGV[17]
        put('r', ARGV[17])
      end
    end
  elseif value ~= '' then
    return nil
  end
  redis.call('HDEL', key, unpack(del))
  redis.call('HSET', key, unpack(set))
  wake()
  keep(0)
  entry.e = ARGV[10]
  return with_variants(shown(0, '', 0))
end
