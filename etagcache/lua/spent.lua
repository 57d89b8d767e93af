-- The states that writes have replaced and that the origin may still show. Prepended
-- to the scripts that work on an entry, after prelude.lua.
--
-- The table spent holds them by identity: until when each is spent, and whether it is
-- held, that is spent while a write is in flight and for the lag after it. The
-- identity * stands for all states.

-- spend_until makes a state spent until the given ms, unless it is for longer.
local function spend_until(id, ends)
  local old = spent[id]
  if not old then
    spent[id] = { ends = ends, held = false }
  elseif old.ends < ends then
    old.ends = ends
  end
end

-- What is wrong in the stored states is stored as it should be as soon as the functions
-- for that exist. What nobody can read may be any state.
local wrong = false
if entry.s then
  local lines = string.match(entry.s, '^%d+ %d+(\n.*)$') or '?'
  local rest = string.gsub(lines, '\n(%d+)( [^\n]*)', function(stored, ids)
    local ends, late = latest(number(stored), most_spent)
    wrong = wrong or late
    for id in string.gmatch(ids, '[^ ]+') do
      spend_until(id, ends)
    end
    return ''
  end)
  if rest ~= '' then
    wrong = true
    spend_until('*', (latest(nil, most_spent)))
  end
end
for id in string.gmatch(entry.h or '', '[^ ]+') do
  spend_until(id, 0)
  spent[id].held = true
end

-- lease_lag returns the lag of the claim or passes in flight.
local function lease_lag()
  return math.min(number(entry.l) or 0, hour)
end

-- own_lag is the lag of the caller, and lag is no less than what the grants have noted.
-- Each is one more than was asked for, because now is rounded down.
local own_lag = lag_asked > 0 and lag_asked + 1 or 0
local lag = math.max(own_lag, lease_lag())

-- spending returns the functions below. It makes them on demand: scripts that don't
-- need them would otherwise take a tenth longer.
local made
local function spending()
  if made then
    return made
  end
  local s, changed = {}, wrong
  made = s

  -- raise_lag notes the lag beside the leases.
  function s.raise_lag()
    if lag > lease_lag() then
      entry.l = text(lag)
      redis.call('HSET', key, 'l', entry.l)
    end
  end

  -- spend makes a state spent until the given ms, and also holds it if a write is in
  -- flight.
  function s.spend(id, ends)
    local held = lag > 0 and next(leases) ~= nil
    if id == '' or not held and ends <= now then
      return
    end
    if held then
      s.raise_lag()
    end
    spend_until(id, ends)
    spent[id].held = held or spent[id].held
    changed = true
  end

  -- unspend makes a state no longer spent.
  function s.unspend(id)
    if spent[id] then
      spent[id], changed = nil, true
    end
  end

  -- let_go ends the holding when no write is in flight any more: what was held is
  -- spent until the given ms.
  function s.let_go(ends)
    for id, state in pairs(spent) do
      if state.held then
        state.ends, state.held = math.max(state.ends, ends), false
        changed = true
      end
    end
  end

  -- left returns for how many more ms a state is spent.
  function s.left(id)
    local state = spent[id]
    if not state then
      return 0
    end
    local left = state.ends - now
    if state.held then
      left = math.max(left, in_flight() + lease_lag())
    end
    return math.max(0, left)
  end

  -- longest returns for how many more ms anything is spent, or may be if the write
  -- in flight isn't renewed.
  function s.longest()
    local longest = in_flight() + lease_lag()
    for id in pairs(spent) do
      longest = math.max(longest, s.left(id))
    end
    return longest
  end

  -- doubt returns for how many more ms nothing can be told from the past.
  function s.doubt()
    return s.left('*')
  end

  -- is_spent reports whether a state may be the past.
  function s.is_spent(id, value)
    return s.left(id) > 0 or string.sub(value, 1, 1) ~= 'u' and s.doubt() > 0
  end

  -- bound keeps the states that end last, and replaces the rest by a doubt.
  local function bound()
    local ids = {}
    for id in pairs(spent) do
      if id ~= '*' then
        table.insert(ids, id)
      end
    end
    if #ids <= max_spent then
      return
    end
    table.sort(ids, function(a, b)
      local x, y = spent[a], spent[b]
      if x.held ~= y.held then
        return x.held
      elseif x.ends ~= y.ends then
        return x.ends > y.ends
      end
      return a < b
    end)
    for i = max_spent + 1, #ids do
      local state = spent[ids[i]]
      spend_until('*', state.ends)
      spent['*'].held = spent['*'].held or state.held
      s.unspend(ids[i])
    end
  end

  -- put stores a field, or removes it.
  local function put(field, value)
    if value ~= '' then
      entry[field] = value
      redis.call('HSET', key, field, value)
    elseif entry[field] then
      entry[field] = nil
      redis.call('HDEL', key, field)
    end
  end

  -- pack makes the server keep the entry in the form for small hashes again, which takes
  -- half the memory. It goes back to that only for a new key.
  local function pack()
    local fields, left, names = redis.call('HGETALL', key), redis.call('PTTL', key), {}
    for i = 1, #fields, 2 do
      table.insert(names, fields[i])
    end
    redis.call('HDEL', key, unpack(names))
    redis.call('HSET', key, unpack(fields))
    if left > 0 then
      redis.call('PEXPIRE', key, text(left))
    end
  end

  -- write stores what has changed, and removes what is over.
  function s.write()
    for id, state in pairs(spent) do
      if not state.held and state.ends <= now then
        s.unspend(id)
      end
    end
    bound()
    if not changed then
      return
    end
    changed = false
    local held, ending, times, count = {}, {}, {}, 0
    for id, state in pairs(spent) do
      if state.held then
        table.insert(held, id)
      end
      if state.ends > now then
        local ends = text(state.ends)
        if not ending[ends] then
          ending[ends] = {}
          table.insert(times, ends)
        end
        table.insert(ending[ends], id)
        count = count + 1
      end
    end
    table.sort(times) -- as text, because all have 13 digits
    local lines = {}
    for _, ends in ipairs(times) do
      table.sort(ending[ends])
      table.insert(lines, '\n' .. ends .. ' ' .. table.concat(ending[ends], ' '))
    end
    table.sort(held)
    local before = entry.s and #entry.s or 0
    put('s', count == 0 and '' or text(count) .. ' ' .. times[#times] .. table.concat(lines))
    put('h', table.concat(held, ' '))
    if before > most_packed and #(entry.s or '') <= most_packed then
      pack()
    end
  end

  return s
end

-- watching reports whether a state is or may become spent.
local function watching()
  return lag > 0 or next(spent) ~= nil
end

if wrong then
  spending().write()
end
