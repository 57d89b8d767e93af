-- Reads the marker and the entry for the usual course of a script, which saves most of its
-- time. Prepended to the short cuts (*_usual.lua), which return nil if anything is out of the
-- ordinary. They have changed nothing then, and the script that follows decides. Otherwise they
-- do what it would do.
-- KEYS and ARGV: as in that script

local key, marker = KEYS[1], KEYS[2]
local lease_asked, lag = tonumber(ARGV[5]), tonumber(ARGV[6])
lag = lag > 0 and lag + 1 or 0 -- see own_lag in spent.lua

-- No term but the retention is longer than this, in ms. Scripts that read the lag of the caller
-- from the entry take it for no longer.
local hour = 3600000
local noted_lag = math.min(lag, hour)

local marked = redis.pcall('HMGET', marker, 'id', 'replid', 'from', 'until', 'format', 'grace', 'lag', 'why')

-- The longest lag of all callers, so the longest time for which anything is spent.
local longest_lag

-- A generation is running, its grace is over, and it knows the caller's terms.
local function generation_stands()
  local from, ends = number(marked[3]), number(marked[4])
  local grace = number(marked[6])
  longest_lag = number(marked[7])
  return marked[1] and marked[5] == format and from and from <= now and ends and ends <= now and
    grace and tonumber(ARGV[3]) <= grace and longest_lag and tonumber(ARGV[6]) <= longest_lag and longest_lag <= hour
end

-- The server is the one on which the generation began, or needn't be looked at.
local function server_stands()
  if ARGV[2] == '' then
    return true
  end
  local lines = redis.pcall('INFO', 'replication')
  return type(lines) == 'string' and marked[2] and #marked[2] == 40 and
    string.find(lines, '\nrole:master\r', 1, true) and string.find(lines, '\nmaster_replid:' .. marked[2] .. '\r', 1, true)
end

local entry = {} -- the fields with a name of one letter
local lease, lease_ends, lease_length, leases, variants, backend_tags = nil, nil, nil, 0, {}, {}
local absent = false -- whether there is no entry

-- The entry can be read, and belongs to the generation.
local function entry_stands()
  local fields = redis.pcall('HGETALL', key)
  if fields.err then
    return false
  end
  absent = #fields == 0
  for i = 1, #fields, 2 do
    local name = fields[i]
    if #name == 1 then
      entry[name] = fields[i + 1]
    else
      local kind = string.sub(name, 1, 2)
      if kind == 'v:' then
        variants[name] = fields[i + 1]
      elseif kind == 'b:' then
        backend_tags[name] = fields[i + 1]
      elseif kind == 'c:' or kind == 'p:' then
        local ends, length = string.match(fields[i + 1], '^(%d+)%.(%d+)$')
        lease, lease_ends, lease_length, leases = name, number(ends), number(length), leases + 1
      end
    end
  end
  return entry.e and entry.g == marked[1]
end

-- lease_lag returns the lag that the entry notes, as in spent.lua.
local function lease_lag()
  return math.min(number(entry.l) or 0, hour)
end

-- The ms at which the last of the spent states ends, their number, and where the first line
-- begins.
local last, count, first = 0, 0, 1

-- The spent states can be read, and end in good time: the clock wasn't set back.
local function spent_stands()
  if entry.s then
    local n, latest
    n, latest, first = string.match(entry.s, '^(%d+) (%d%d%d%d%d%d%d%d%d%d%d%d%d)()\n')
    count, last = tonumber(n), tonumber(latest)
  end
  return not entry.s or last and last <= now + longest_lag + 1
end

-- mentions reports whether a state may be spent, or there may be a doubt.
local function mentions(id)
  return entry.s and last > now and (string.find(entry.s, ' ' .. id, first, true) or string.find(entry.s, ' *', first, true))
end

-- keep restarts the retention. The entry is kept for left more ms at least, and until
-- nothing is spent.
local function keep(left)
  local long, brief = string.match(ARGV[8], '^(%d+) ?(%d*)$')
  long, brief = tonumber(long), tonumber(brief)
  if brief and brief < long and not entry.r then
    local worth = false
    for _, value in pairs(variants) do
      worth = worth or worth_keeping(value)
    end
    long = worth and long or math.max(brief, redis.call('PTTL', key))
  end
  redis.call('PEXPIRE', key, text(math.max(long, left, last - now)))
end

-- shown returns the entry in the form that answer in entry.lua gives it, without variants.
-- Nothing of it is busy for longer than the given ms, and what is held is spent for as long as
-- the given lag after that.
local function shown(busy, held, lag)
  return {
    'OK', entry.e, busy, now, entry.y or '', 0, '', 0, tonumber(marked[6]), number(entry.d) or 0, 0,
    marked[8] or '', entry.s or '', held, busy + lag,
  }
end

-- with_variants adds the receipt and the variants to what shown returns.
local function with_variants(reply)
  reply[7] = entry.r or ''
  for name, value in pairs(variants) do
    local variant = string.sub(name, 3)
    local tag = backend_tags['b:' .. variant]
    reply[#reply + 1] = variant
    reply[#reply + 1] = tag and { value, tag } or value
  end
  return reply
end

-- wake wakes everyone who waits, after the epoch has moved.
local function wake()
  if entry.w then
    redis.pcall('PUBLISH', ARGV[7], key) -- without permission, waiters find out when they look again
  end
end

-- stored returns what to store for a variant that was known in this form since the given
-- ms, or is since now. If the clock was set back, a new one comes a second after what has
-- been given a date.
local function stored(value, since)
  if not since then
    local forgotten = number(entry.d) or 0
    since = now < forgotten and forgotten + 1000 or now
  end
  local at = math.max(now, since)
  return text(at) .. ' ' .. text(at - since) .. ' ' .. value
end
