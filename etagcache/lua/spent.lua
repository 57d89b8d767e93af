-- The states that writes have replaced and that the origin may still show. Prepended
-- to the scripts that work on an entry, after prelude.lua.
--
-- The table spent holds them by identity: until when each is spent, and whether it is
-- held, that is spent while a write is in flight and for the lag after it. The
-- identity * stands for all states.

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
  local s, changed = {}, {}
  made = s

  -- identity returns the validator.Observed.Identity of what is stored for a variant. If
  -- that is unreadable, it may be any.
  function s.identity(value)
    local state, date, tag = string.match(value, '^%d+ %d+ (%a)%a* (-?%d*) (.*)$')
    local strong = tag and string.sub(tag, 1, 2) == 'W/' and string.sub(tag, 3) or tag
    if state == 'a' then
      return 'absent'
    elseif state == 'p' and string.sub(strong, 1, 1) == '"' then
      return 't' .. string.sub(redis.sha1hex(strong), 1, 15)
    elseif state == 'p' and tag == '' and date ~= '-' then
      return 'd' .. string.sub(redis.sha1hex(date), 1, 15)
    elseif state == 'p' and tag == '' or state == 'u' then
      return ''
    end
    return '*'
  end

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
    local old = spent[id] or { ends = 0, held = false }
    spent[id] = { ends = math.max(ends, old.ends), held = held or old.held }
    changed[id] = true
  end

  -- unspend makes a state no longer spent.
  function s.unspend(id)
    if spent[id] then
      spent[id], changed[id] = nil, true
    end
  end

  -- let_go ends the holding when no write is in flight any more: what was held is
  -- spent until the given ms.
  function s.let_go(ends)
    for id, state in pairs(spent) do
      if state.held then
        state.ends, state.held = math.max(state.ends, ends), false
        changed[id] = true
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
      local state, all = spent[ids[i]], spent['*'] or { ends = 0, held = false }
      spent['*'] = { ends = math.max(all.ends, state.ends), held = all.held or state.held }
      changed['*'] = true
      s.unspend(ids[i])
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
    for id in pairs(changed) do
      local state = spent[id]
      if state then
        redis.call('HSET', key, 's:' .. id, text(state.ends) .. (state.held and '+' or ''))
      else
        redis.call('HDEL', key, 's:' .. id)
      end
    end
    changed = {}
  end

  return s
end

-- watching reports whether a state is or may become spent.
local function watching()
  return lag > 0 or next(spent) ~= nil
end
