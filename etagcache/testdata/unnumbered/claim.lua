-- Takes a claim and returns the entry.
-- KEYS: 1 the entry, 2 the marker   ARGV: 7 the claim's token, 8 the lease in ms,
-- 9 the epoch that the claim is based on

local token, lease, epoch = ARGV[7], tonumber(ARGV[8]), ARGV[9]
local name = 'c:' .. token
local status = 'OK'

join()
create()
if leases[name] then
  status = 'OK' -- repeated
elseif busy() > 0 then
  status = 'BUSY'
  if passed() then
    reserve()
  end
elseif entry.e ~= epoch then
  status = 'STALE'
else
  hold(name, lease)
  redis.call('HDEL', key, 'q')
  move(token)
end
keep()
return answer(status)
