-- Prepended to the scripts that work on an entry, after generation.lua and the
-- constants max_variants and reservation.
-- KEYS: 1 the entry, 2 the marker
-- ARGV: 1 to 3 as in generation.lua, 4 the channel of wake-ups, 5 the retention
--       in ms; the script's own arguments follow
--
-- An entry is a hash:
--   e            the epoch
--   g            the generation. A program that changes the resource without going
--                through a gateway deletes this field, so every script treats an
--                entry without it as one of a different generation
--   c:<token>    the ms at which the claim expires
--   p:<token>    the ms at which the pass expires
--   q            the ms until which passes are refused in favor of a refused claim
--   w            present if somebody waits
--   y            the Vary
--   r            the receipt
--   v:<variant>  three values separated by spaces: the ms at which the variant was
--                stored, for how many ms it had been known in this form by then,
--                and what was observed

local key, channel, retention = KEYS[1], ARGV[4], tonumber(ARGV[5])

local entry, leases, variants = {}, {}, {}

-- busy returns for how many more ms the write in flight, or one that was
-- forgotten, can last.
local function busy()
  local left = grace_left()
  for _, ends in pairs(leases) do
    left = math.max(left, ends - now)
  end
  return left
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

-- reserved returns for how many more ms passes are refused.
local function reserved()
  return math.max(0, (tonumber(entry.q) or 0) - now)
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

-- keep restarts the retention.
local function keep()
  redis.call('PEXPIRE', key, text(math.max(retention, busy())))
end

-- move gives the entry a new epoch and wakes everyone who waits.
local function move(epoch)
  entry.e, entry.g = epoch, generation()
  redis.call('HSET', key, 'e', entry.e, 'g', entry.g)
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

local function hold(name, lease)
  leases[name] = now + lease
  redis.call('HSET', key, name, text(leases[name]))
end

local function release(name)
  leases[name] = nil
  redis.call('HDEL', key, name)
end

-- drop forgets all variants.
local function drop()
  for name in pairs(variants) do
    redis.call('HDEL', key, name)
  end
  variants = {}
  if entry.r then
    entry.r = nil
    redis.call('HDEL', key, 'r')
  end
end

-- observed returns what is stored for a variant, or nil, and the ms at which it
-- was first known in this form.
local function observed(variant)
  local stored, known, value = string.match(variants['v:' .. variant] or '', '^(%d+) (%d+) (.*)$')
  return value, value and stored - known
end

-- displace forgets the variant that was stored the longest time ago.
local function displace()
  local oldest, at, count = nil, nil, 0
  for name, value in pairs(variants) do
    local stored = tonumber(string.match(value, '^%d+'))
    if not at or stored < at then
      oldest, at = name, stored
    end
    count = count + 1
  end
  if count >= max_variants then
    variants[oldest] = nil
    redis.call('HDEL', key, oldest)
  end
end

-- store stores an observation. If it contradicts what is stored, store drops that
-- first and returns true.
local function store(variant, value, vary)
  local old, since = observed(variant)
  local changed = (old and old ~= value) or (vary ~= (entry.y or '') and next(variants) ~= nil)
  if changed then
    drop()
  elseif not old then
    displace()
  end
  if changed or not old then
    since = now
  end
  local name = 'v:' .. variant
  variants[name] = text(now) .. ' ' .. text(math.max(0, now - since)) .. ' ' .. value
  entry.y = vary
  redis.call('HSET', key, name, variants[name], 'y', vary)
  return changed
end

-- answer returns the status and the entry in the form that the client reads.
local function answer(status)
  local reply = { status, entry.e, busy(), now, entry.y or '', began and 1 or 0, entry.r or '' }
  for name, value in pairs(variants) do
    table.insert(reply, string.sub(name, 3))
    table.insert(reply, value)
  end
  return reply
end

local fields = redis.call('HGETALL', key)
for i = 1, #fields, 2 do
  local name, value = fields[i], fields[i + 1]
  local kind = string.sub(name, 1, 2)
  if kind == 'c:' or kind == 'p:' then
    leases[name] = tonumber(value)
  elseif kind == 'v:' then
    variants[name] = value
  else
    entry[name] = value
  end
end

-- Leases that have expired end here.
local lapsed = false
for name, ends in pairs(leases) do
  if ends <= now then
    release(name)
    lapsed = true
  end
end
if lapsed then
  drop()
  move(fresh)
end

-- join moves the entry to the present generation. It keeps the leases, because
-- those that a replica or a file has preserved may still be held.
local function join()
  begin()
  if entry.e and entry.g ~= generation() then
    drop()
    move(fresh)
  end
end
