-- What the scripts do with an entry. Prepended to them, after spent.lua.

-- busy returns for how many more ms the write in flight, or one that was
-- forgotten, can last.
local function busy()
  return math.max(grace_left(), in_flight())
end

-- claimed reports whether the write in flight has a claim.
local function claimed()
  local name = next(leases)
  return name and string.sub(name, 1, 2) == 'c:'
end

-- passed reports whether the write in flight has a pass.
local function passed()
  return next(leases) and not claimed()
end

-- reserved returns for how many more ms passes are refused. If it is too long, the clock
-- was set back.
local function reserved()
  local left = (tonumber(entry.q) or 0) - now
  return left <= reservation and math.max(0, left) or 0
end

local function reserve()
  redis.call('HSET', key, 'q', text(now + reservation))
end

-- wait returns for how many ms a writer may have to wait.
local function wait()
  local left = busy()
  if left > 0 then
    return left
  end
  return reserved()
end

-- knows reports whether the entry knows anything that is worth the whole retention.
local function knows()
  if entry.r then
    return true
  end
  for _, value in pairs(variants) do
    if worth_keeping(value) then
      return true
    end
  end
  return false
end

-- keep restarts the retention. It must be called after states were spent. It doesn't
-- shorten it: a caller that keeps the entry for the sake of its epoch may have asked for more.
local function keep()
  local left = busy()
  if watching() or made then
    spending().write()
    left = math.max(left, spending().longest())
  end
  local long = retention
  if brief < retention and not knows() then
    long = math.max(brief, redis.call('PTTL', key))
  end
  redis.call('PEXPIRE', key, text(math.max(long, left)))
end

-- move gives the entry a new epoch and wakes everyone who waits.
local function move(epoch)
  entry.e, entry.g = epoch, generation()
  if entry.d then
    redis.call('HSET', key, 'e', entry.e, 'g', entry.g, 'd', entry.d)
  else
    redis.call('HSET', key, 'e', entry.e, 'g', entry.g)
  end
  if entry.w then
    entry.w = nil
    redis.call('HDEL', key, 'w')
    redis.pcall('PUBLISH', channel, key) -- without permission, waiters find out when they look again
  end
end

-- create makes the entry if there is none.
local function create()
  if not entry.e then
    move(fresh)
  end
end

local function hold(name)
  leases[name] = now + lease_asked
  redis.call('HSET', key, name, lease_value(leases[name], lease_asked))
  if lag > 0 then
    spending().raise_lag()
  end
end

local function release(name)
  leases[name] = nil
  redis.call('HDEL', key, name)
  if entry.l and not next(leases) then
    entry.l = nil
    redis.call('HDEL', key, 'l')
  end
end

-- noted_quiet reports whether nothing has moved the epoch since there are passes in flight,
-- except passes that began, and passes that ended without a change. It says no if there was
-- only one pass.
local function noted_quiet()
  return entry.u ~= nil and entry.u == entry.e
end

-- quiet reports the same for any number of passes.
local function quiet()
  local name = next(leases)
  return not name or noted_quiet() or entry.e and name == 'p:' .. entry.e and not next(leases, name)
end

-- forget notes the date of a variant that is about to be forgotten. A move must follow.
local function forget(value)
  local stored, known = string.match(value, '^(%d+) (%d+) ')
  local since = stored and stored - known or now
  entry.d = text(math.max(number(entry.d) or 0, since))
end

-- spend_variants makes all variants spent until then, and while a write is in flight.
local function spend_variants(ends)
  if lag == 0 and ends <= now then
    return
  end
  local s, count = spending(), 0
  for _, value in pairs(variants) do
    s.spend(identity(value), ends)
    count = count + 1
  end
  if count == max_variants then
    s.spend('*', ends) -- others may have been displaced
  end
end

-- drop forgets all variants. If ends is given, a write has or may have replaced them:
-- they are spent until then, and while a write is in flight. A move must follow.
local function drop(ends)
  if ends then
    spend_variants(ends)
  end
  for name, value in pairs(variants) do
    forget(value)
    redis.call('HDEL', key, name)
  end
  for name in pairs(backend_tags) do
    redis.call('HDEL', key, name)
  end
  variants, backend_tags = {}, {}
  if entry.r then
    entry.r = nil
    redis.call('HDEL', key, 'r')
  end
end

-- set_backend_tag stores the backend's own tag of a variant, or '' for none.
local function set_backend_tag(variant, tag)
  local name = 'b:' .. variant
  if tag ~= '' then
    backend_tags[name] = tag
    redis.call('HSET', key, name, tag)
  elseif backend_tags[name] then
    backend_tags[name] = nil
    redis.call('HDEL', key, name)
  end
end

-- observed returns what is stored for a variant, or nil, and the ms at which it
-- was first known in this form.
local function observed(variant)
  local stored, known, value = string.match(variants['v:' .. variant] or '', '^(%d+) (%d+) (.*)$')
  return value, value and stored - known
end

-- displace forgets the variant that was stored the longest time ago. It isn't spent:
-- it is still the present.
local function displace()
  local oldest, at, count = nil, nil, 0
  for name, value in pairs(variants) do
    local stored = tonumber(string.match(value, '^%d+')) or 0
    if not at or stored < at then
      oldest, at = name, stored
    end
    count = count + 1
  end
  if count >= max_variants then
    forget(variants[oldest])
    redis.call('HSET', key, 'd', entry.d)
    variants[oldest] = nil
    redis.call('HDEL', key, oldest)
    set_backend_tag(string.sub(oldest, 3), '')
  end
end

-- store stores an observation. If it contradicts what is stored, store drops that
-- first and returns true. What it drops isn't spent: a state that is seen at the
-- origin doesn't tell what replaced what, and a different Vary tells nothing about
-- states. The backend's own tag is stored beside the value, and isn't compared.
local function store(variant, value, vary, backend_tag)
  local old, since = observed(variant)
  local changed = (old and old ~= value) or (vary ~= (entry.y or '') and next(variants) ~= nil)
  if changed then
    drop()
  elseif not old then
    displace()
  end
  if changed or not old then
    -- If the clock was set back, this comes a second after what has been given a date.
    local last = number(entry.d) or 0
    since = now < last and last + 1000 or now
  end
  local name, at = 'v:' .. variant, math.max(now, since)
  variants[name] = text(at) .. ' ' .. text(at - since) .. ' ' .. value
  entry.y = vary
  redis.call('HSET', key, name, variants[name], 'y', vary)
  set_backend_tag(variant, backend_tag)
  return changed
end

-- answer returns the status and the entry in the form that the client reads: whether a
-- generation began, whether a loss can't be noticed, the longest grace, the date that was
-- forgotten last, the ms that are left of a grace and what has happened to the data, the
-- fields s and h, for how many ms more what is in h is spent, and the variants, each with a
-- string or, if the backend has a tag of its own, with that and the tag.
local function answer(status)
  local hidden, variants = passed(), variants
  local receipt = hidden and '' or entry.r or ''
  if hidden then
    for _, value in pairs(variants) do
      forget(value) -- only in the reply
    end
    variants = {}
  end
  local reply = {
    status, entry.e, busy(), now, entry.y or '', began and 1 or 0, receipt, blind and 1 or 0, longest_grace or 0,
    number(entry.d) or 0, grace_left(), why, entry.s or '', entry.h or '', in_flight() + lease_lag(),
  }
  for name, value in pairs(variants) do
    local variant = string.sub(name, 3)
    local tag = backend_tags['b:' .. variant]
    table.insert(reply, variant)
    table.insert(reply, tag and { value, tag } or value)
  end
  return reply
end

-- Leases that have expired end here. Their holders may have written until then. The
-- entry is kept for the lag, because keep counted on it.
local lapsed = false
do
  local last, caller = 0, lag
  lag = lease_lag() -- the holders' lag applies, not the caller's
  for name, ends in pairs(leases) do
    if ends <= now then
      release(name)
      lapsed, last = true, math.max(last, ends)
    end
  end
  if lapsed then
    if not next(leases) then
      spending().let_go(last + lag)
    end
    drop(last + lag)
    spending().write()
    move(fresh)
  end
  lag = math.max(caller, lease_lag())
end

-- join moves the entry to the present generation. It keeps the leases, because
-- those that a replica or a file has preserved may still be held. If somebody has
-- reported a change, the variants are spent from then on. After a loss they aren't.
local function join()
  begin()
  if entry.e and entry.g ~= generation() then
    drop(entry.g and all_spent or now + lag)
    move(fresh)
    if next(spent) then
      keep()
    end
  end
end
