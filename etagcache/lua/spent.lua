-- The states that writes have replaced and that the origin may still show. Prepended
-- to the scripts that work on an entry, after prelude.lua.
--
-- The table spent holds them by identity: until when each is spent, and whether it is
-- held, that is spent while a write is in flight and for the lag after it. The
-- identity * stands for all states. write_spent stores what has changed.

-- lease_lag returns the lag of the claim or passes in flight.
local function lease_lag()
  return tonumber(entry.l) or 0
end

-- own_lag is the caller's, and lag is at least that of the grants. Each is one more
-- than was asked for, because now is rounded down.
local own_lag = tonumber(ARGV[6])
if own_lag > 0 then
  own_lag = own_lag + 1
end
local lag = math.max(own_lag, lease_lag())

local changed_spent = {}

-- identity returns the validator.Observed.Identity of what is stored for a variant.
local function identity(value)
  local state, date, tag = string.match(value, '^%d+ %d+ (%a)%a* (%S+) (.*)$')
  if state == 'a' then
    return 'absent'
  elseif state == 'p' and tag ~= '' then
    local strong = string.sub(tag, 1, 2) == 'W/' and string.sub(tag, 3) or tag
    return 't' .. string.sub(redis.sha1hex(strong), 1, 15)
  elseif state == 'p' and date ~= '-' then
    return 'd' .. string.sub(redis.sha1hex(date), 1, 15)
  end
  return ''
end

-- raise_lag notes the lag beside the leases.
local function raise_lag()
  if lag > lease_lag() then
    entry.l = text(lag)
    redis.call('HSET', key, 'l', entry.l)
  end
end

-- spend makes a state spent until the given ms, and also holds it if a write is in
-- flight.
local function spend(id, ends)
  local held = lag > 0 and next(leases) ~= nil
  local old = spent[id]
  if id == '' or not held and ends <= now then
    return
  end
  if held then
    raise_lag()
  end
  spent[id] = { ends = math.max(ends, old and old.ends or 0), held = held or old ~= nil and old.held }
  changed_spent[id] = true
end

-- unspend makes a state no longer spent.
local function unspend(id)
  if spent[id] then
    spent[id], changed_spent[id] = nil, true
  end
end

-- let_go ends the holding when no write is in flight any more: what was held is
-- spent until the given ms.
local function let_go(ends)
  for id, state in pairs(spent) do
    if state.held then
      state.ends, state.held = math.max(state.ends, ends), false
      changed_spent[id] = true
    end
  end
end

-- time_left returns for how many more ms a state is spent.
local function time_left(state)
  local left = state and state.ends - now or 0
  if state and state.held then
    left = math.max(left, in_flight() + lease_lag())
  end
  return math.max(0, left)
end

-- spent_left returns for how many more ms anything is spent, or may be if the write
-- in flight isn't renewed.
local function spent_left()
  local left = in_flight() + lease_lag()
  for _, state in pairs(spent) do
    left = math.max(left, time_left(state))
  end
  return left
end

-- doubt returns for how many more ms nothing can be told from the past.
local function doubt()
  return time_left(spent['*'])
end

-- is_spent reports whether a state may be the past.
local function is_spent(id, value)
  return time_left(spent[id]) > 0 or string.sub(value, 1, 1) ~= 'u' and doubt() > 0
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
    changed_spent['*'] = true
    unspend(ids[i])
  end
end

-- write_spent stores the changes, and removes what is over.
local function write_spent()
  for id, state in pairs(spent) do
    if not state.held and state.ends <= now then
      unspend(id)
    end
  end
  bound()
  for id in pairs(changed_spent) do
    local state = spent[id]
    if state then
      redis.call('HSET', key, 's:' .. id, text(state.ends) .. (state.held and '+' or ''))
    else
      redis.call('HDEL', key, 's:' .. id)
    end
  end
  changed_spent = {}
end
