-- Prepended to every script.
-- KEYS: the last one is the marker
-- ARGV: 1 a fresh epoch, 2 the grace in ms, 3 whether to check that this is still
--       the server on which the generation began ('' for no); the check takes a
--       third as long as everything else
--
-- The marker names the generation, a period in which nothing was lost. It is a
-- hash:
--   id      a token
--   replid  the replication ID of the server's data when the generation began,
--           which changes with each start and each promotion
--   until   the ms at which the grace is over
--   spent   the ms until which the variants of all entries of earlier generations are
--           spent. Absent if all entries were never invalidated

local marker, fresh, grace, check = KEYS[#KEYS], ARGV[1], tonumber(ARGV[2]), ARGV[3] ~= ''

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- Numbers of this size lose digits unless they are formatted.
local function text(n)
  return string.format('%.0f', n)
end

-- replid returns the server's replication ID, or '' without permission for INFO.
local function replid()
  local info = redis.pcall('INFO', 'replication')
  local _, colon = string.find(type(info) == 'string' and info or '', 'master_replid:', 1, true)
  return colon and string.sub(info, colon + 1, colon + 40) or ''
end

local id, ends
local all_spent = 0
do
  local fields = redis.call('HMGET', marker, 'id', 'replid', 'until', 'spent')
  local present = fields[1] and check and replid() or ''
  if fields[1] and (present == '' or present == fields[2]) then
    id, ends = fields[1], tonumber(fields[3])
    all_spent = tonumber(fields[4] or 0)
  end
end

-- begin begins a generation if something may have been lost since the last one
-- began.
local began = false
local function begin()
  if not id then
    id, ends, began = fresh, now + grace, true
    redis.call('HSET', marker, 'id', id, 'replid', replid(), 'until', text(ends))
  end
end

-- grace_left returns for how many more ms the holders of leases can restore them
-- and nobody else is granted one.
local function grace_left()
  return math.max(0, (ends or now) - now)
end

-- generation returns the mark of entries. It changes when the grace is over,
-- because a write that was forgotten may end during the grace: nothing that is
-- learned until then counts afterwards.
local function generation()
  if not id then
    return ''
  end
  return grace_left() > 0 and id .. '?' or id
end
