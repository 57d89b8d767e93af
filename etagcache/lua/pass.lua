-- Takes a pass and returns the entry.
-- KEYS: 1 the entry, 2 the marker   ARGV: 9 the pass's token

local token = ARGV[9]
local name = 'p:' .. token
local status = 'OK'

join()
if leases[name] then
  status = 'OK' -- repeated
elseif claimed() or reserved() > 0 or grace_left() > 0 then
  status = 'BUSY'
  create()
else
  local first, kept = not next(leases), quiet()
  hold(name)
  if kept then
    spend_variants(0)
  else
    drop(0)
  end
  move(token)
  if kept and not first then
    redis.call('HSET', key, 'u', token)
  end
end
keep()

local reply = answer(status)
if status == 'BUSY' then
  reply[3] = wait()
end
return reply
