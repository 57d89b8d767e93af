-- Prepended to the scripts on an entry, after generation.lua and the constants
-- max_variants and reservation.
-- KEYS: 1 the entry, 2 the marker
-- ARGV: 1 to 3 as in generation.lua, 4 the channel of wake-ups, 5 the retention
--       in ms; those of the script itself follow
--
-- An entry is a hash:
--   e            the epoch
--   g            the generation. Who changes the resource without coming through a
--                gateway deletes it: so every script takes an entry without it for
--                one of another generation
--   c:<token>    the ms at which the claim runs out
--   p:<token>    the ms at which the pass runs out
--   q            the ms until which passes are refused, because a claim was
--   w            is there if somebody waits
--   y            the Vary
--   r            the receipt
--   v:<variant>  the ms at which it was stored, for how many ms it had been known
--                as it is by then, what was observed; with spaces in between

local key, channel, retention = KEYS[1], ARGV[4], tonumber(ARGV[5])

local entry, leases, variants = {}, {}, {}

-- busy returns for how many ms the write in flight, or one that was forgotten,
-- may still last.
local function busy()
  local left = grace_left()
  for _, ends in pairs(leases) do
    left = math.max(left, ends - now)
  end
  return left
end

-- claimed tells whether the write in flight is a claim's.
local function claimed()
  local name = next(leases)
  return name and string.sub(name, 1, 2) == 'c:'
end

-- passed tells whether it is a pass's.
local function passed()
  return next(leases) and not claimed()
end

-- reserved returns for how many ms passes are still refused.
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

-- keep starts the retention anew.
local function keep()
  redis.call('PEXPIRE', key, text(math.max(retention, busy())))
end

-- move gives the entry another epoch and wakes those who wait.
local function move(epoch)
  entry.e, entry.g = epoch, generation()
  redis.call('HSET', key, 'e', entry.e, 'g', entry.g)
  if entry.w then
    entry.w = nil
    redis.call('HDEL', key, 'w')
    redis.pcall('PUBLISH', channel, key) -- not permitted? they look again by themselves
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

-- observed returns what is stored for a variant, or nil, and the ms since which it
-- has been known.
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

-- store stores an observation and tells whether it contradicts what is stored,
-- which is dropped then.
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

-- answer returns the status and the entry as the client reads them.
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

-- A lease that has run out ends here.
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

-- join has the entry belong to the present generation. Leases are kept: those
-- that a replica or a file still knows may be held.
local function join()
  begin()
  if entry.e and entry.g ~= generation() then
    drop()
    move(fresh)
  end
end
