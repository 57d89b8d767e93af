-- Prepended to every script, after clock.lua.
-- KEYS: the last one is the marker
-- ARGV: 1 a fresh epoch, 2 whether to check that this is still the server on which
--       the generation began ('' for no; the check takes a third as long as everything
--       else; 'new' for yes, by a caller that has never heard of a generation), 3 the
--       caller's grace in ms, 4 the longest grace that it has heard of, 5 its lease,
--       6 its lag
--
-- The marker names the generation, a period in which nothing was lost. It is a
-- hash:
--   format  the format of everything in the store. Absent in format 1, before there were
--           numbers
--   id      a token
--   replid  the replication ID of the server's data when the generation began,
--           which changes with each start and each promotion
--   from    the ms from which the grace counts
--   until   the ms at which the grace is over
--   why     what has happened to the data: see reason. Absent in versions without it
--   grace   the longest grace in ms of all callers since then
--   lag     the longest lag in ms of all callers
--   spent   the ms until which the variants of all entries of earlier generations are
--           spent. Absent if all entries were never invalidated

local marker, fresh, check = KEYS[#KEYS], ARGV[1], ARGV[2] ~= ''

-- No term but the retention is longer than this, in ms.
local hour = 3600000

-- section returns what INFO tells, or '' without permission.
local function section(name)
  local lines = redis.pcall('INFO', name)
  return type(lines) == 'string' and lines or ''
end

-- info returns the server's role and replication ID: nil for what it doesn't tell.
local function info()
  local lines = section('replication')
  return string.match(lines, 'role:([%w-]+)'), string.match(lines, 'master_replid:(%x+)')
end

local function note(field, ms)
  redis.call('HSET', marker, field, text(ms))
  return ms
end

-- wrong_type reports whether a reply says that somebody has put a different type at a key.
local function wrong_type(reply)
  return reply.err and string.find(reply.err, 'WRONGTYPE', 1, true) ~= nil
end

local marked = redis.pcall('HMGET', marker, 'id', 'replid', 'from', 'until', 'spent', 'format', 'grace', 'lag', 'why')
if wrong_type(marked) then -- the marker is gone, and with it all that it said
  redis.call('PEXPIRE', marker, 0)
  marked = {}
elseif marked.err then
  return marked
end
local found = marked[6] or marked[1] and '1' or format
if found ~= format then
  return { 'FORMAT', found }
end

-- blind is whether a loss of data can't be noticed.
local lost, blind = not marked[1], false
if check then
  local role, replid = info()
  if role and role ~= 'master' then
    -- Clients take this error as a reason to connect again, perhaps to the new master.
    return redis.error_reply('READONLY the role of the server is ' .. role .. ', not master')
  end
  blind = not replid
  lost = lost or replid and replid ~= marked[2]
end

-- The longest grace of all callers since the generation began, and the longest lag of all
-- callers, in ms. The lag is nil if a version without a format number began the
-- generation: then callers may have a longer one that nobody has noted.
local longest_grace, longest_lag = math.min(number(marked[7]) or 0, hour), number(marked[8])
local grace, heard, lease_asked, lag_asked = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
if marked[1] then
  if grace > longest_grace then
    longest_grace = note('grace', grace)
  end
  if longest_lag and lag_asked > longest_lag then
    longest_lag = note('lag', lag_asked)
  end
end

-- latest returns the ms at which something ends that was stored for at most this many ms,
-- and whether that isn't what is stored: a clock that was set back makes it too late, and
-- another version may have made it unreadable.
local function latest(ends, most)
  if not ends then
    most = most or hour
    return now + math.min(most, math.max(lease_asked, 1000)), true
  elseif ends > now + (most or hour) then
    return now + (most or hour), true
  end
  return ends, false
end

-- Each lag is one more than was asked for, because now is rounded down.
local most_spent = longest_lag and longest_lag + 1
local id, from, ends
local why = marked[9] or ''
local all_spent = 0
if marked[5] then
  local wrong
  all_spent, wrong = latest(number(marked[5]), most_spent)
  if wrong then
    note('spent', all_spent)
  end
end
if not lost then
  id, from, ends = marked[1], number(marked[3]), number(marked[4]) or now
  if not from then
    from = note('from', now)
  elseif from > now then -- the clock was set back
    ends = note('until', now + ends - from)
    from = note('from', now)
  end
  if ends > now + hour then
    ends = note('until', now + longest_grace)
  end
  if ends > now and from + longest_grace > ends then
    ends = note('until', from + longest_grace)
  end
end

-- used reports whether anybody may have been granted anything since the server
-- started. Each grant sets an expiry, and the server counts these calls. FLUSHALL
-- doesn't reset the counts, and what does is itself counted.
local function used()
  local counts = section('commandstats')
  local counted = string.find(counts, 'cmdstat_time:', 1, true) -- that TIME was called here
  return not counted or string.find(counts, 'cmdstat_pexpire:', 1, true) or string.find(counts, 'cmdstat_config:', 1, true) or
    string.find(counts, 'cmdstat_config|resetstat:', 1, true)
end

-- alone reports whether the server has neither replicas nor ever taken over from a
-- different server.
local function alone(server)
  local lines = section('replication')
  return string.find(server, '_mode:standalone', 1, true) and string.find(lines, 'connected_slaves:0%s') and
    string.find(lines, 'master_replid2:0+%s') and string.find(lines, 'repl_backlog_active:0%s')
end

-- reason returns what has happened to the data.
local function reason(uptime, unused)
  if not marked[1] then
    return unused and 'empty' or 'gone'
  elseif uptime and number(marked[3]) and now - (uptime + 1) * 1000 > number(marked[3]) then
    return 'restarted'
  end
  return 'replaced'
end

-- begin begins a generation if something may have been lost since the last one
-- began. The longest grace that anybody has heard of counts: others may hold leases
-- that they renew later than the caller would.
--
-- If nothing was granted since the server started, only what an earlier server knew
-- can be lost, and these leases end at most a lease after the start. Nobody has one
-- longer than four graces. A caller that has heard of a generation may know it from a
-- server that ran until just now, in whose place this one is, so that doesn't count.
local began = false
local function begin()
  if id then
    return
  end
  local _, replid = info()
  local server = section('server')
  local length, uptime = math.max(grace, heard, longest_grace), number(string.match(server, 'uptime_in_seconds:(%d+)'))
  local unused = not marked[1] and not used()
  id, ends, began, why = fresh, now + length, true, reason(uptime, unused)
  if unused and uptime and check and ARGV[2] == 'new' and alone(server) then
    local started = now - (uptime - 1) * 1000 -- at the latest: both ends were rounded down
    ends = math.max(now, math.min(ends, started + math.max(lease_asked, 4 * length)))
  end
  from = ends - length
  longest_grace, longest_lag = grace, math.max(lag_asked, longest_lag or 0)
  redis.call('HSET', marker, 'format', format, 'id', id, 'replid', replid or '', 'from', text(from), 'until', text(ends),
    'grace', text(grace), 'lag', text(longest_lag), 'why', why)
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
