-- Reads the entry. Prepended to the scripts that work on one, after generation.lua
-- and the constants max_variants, max_spent and reservation. The functions that work
-- on the entry follow in spent.lua and entry.lua.
-- KEYS: 1 the entry, 2 the marker
-- ARGV: 1 to 6 as in generation.lua, 7 the channel of wake-ups, 8 the retention
--       in ms, and after a space the one of an entry that knows nothing, if that is
--       shorter; the script's own arguments follow
--
-- An entry is a hash:
--   e            the epoch
--   g            the generation. A program that changes the resource without going
--                through a gateway deletes this field, so every script treats an
--                entry without it as one of a different generation
--   c:<token>    the ms at which the claim expires, a point, and the lease in ms, with 7
--                digits. Versions without a format number take that for one number
--   p:<token>    the same for a pass
--   u            the epoch, if nothing has moved it since there are passes in flight, except
--                passes that began and passes that ended without a change. Absent if there
--                was only one, and in what versions without it have moved
--   l            the longest lag in ms of the calls that the claim or passes come
--                from. Absent if it is zero or no write is in flight
--   q            the ms until which passes are refused in favor of a refused claim
--   d            the ms from which no date was given to what the entry has forgotten.
--                Absent if it has forgotten nothing
--   w            present if somebody waits
--   y            the Vary
--   r            the receipt
--   v:<variant>  three values separated by spaces: the ms at which the variant was
--                stored, for how many ms it had been known in this form by then,
--                and what was observed
--   b:<variant>  the tag that the backend itself sent for the variant. Absent if that is
--                the tag in v:<variant>, or if it sent none
--   s            the states that are spent: a line with their number and the latest of the ms
--                that follow; then lines, each with the ms until which states are spent and,
--                after a space each, their identities. A state that is there several times
--                is spent until the latest, and counted each time. The identity * is a doubt
--                about all states. Lines that are over may be left. Absent if nothing is spent
--   h            the identities of the states, separated by spaces, that are spent while a
--                write is in flight, and for the lag after it. Absent if there are none

local key, channel, retention, brief = KEYS[1], ARGV[7], string.match(ARGV[8], '^(%d+) ?(%d*)$')
retention = tonumber(retention)
brief = tonumber(brief) or retention

local entry, leases, variants, backend_tags, spent = {}, {}, {}, {}, {}

-- lease_value returns what is stored for a lease.
local function lease_value(ends, length)
  return text(ends) .. string.format('.%07d', length)
end

local fields = redis.pcall('HGETALL', key)
if wrong_type(fields) and lease_asked == 0 then -- who only waits must ask for the claim
  fields = {}
elseif wrong_type(fields) then -- what it held is lost, claims included
  redis.call('PEXPIRE', key, 0)
  redis.call('HSET', key, 'c:?', lease_value(now + math.max(lease_asked, 1000), math.max(lease_asked, 1000)))
  fields = redis.call('HGETALL', key)
elseif fields.err then
  return fields
end
for i = 1, #fields, 2 do
  local name, value = fields[i], fields[i + 1]
  local kind = string.sub(name, 1, 2)
  if kind == 'c:' or kind == 'p:' then
    local at, asked = string.match(value, '^(%d+)%.?(%d*)$')
    local length = math.min(number(asked) or at and hour or lease_asked, hour)
    local ends, wrong = latest(number(at), length)
    leases[name] = ends
    if wrong then
      redis.call('HSET', key, name, lease_value(ends, math.min(length, ends - now)))
    end
  elseif kind == 'v:' then
    variants[name] = value
  elseif kind == 'b:' then
    backend_tags[name] = value
  else
    entry[name] = value
  end
end

-- in_flight returns for how many more ms the write in flight can last.
local function in_flight()
  local left = 0
  for _, ends in pairs(leases) do
    left = math.max(left, ends - now)
  end
  return left
end
