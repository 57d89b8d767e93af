-- KEYS: 1 the entry   ARGV: 4 the claim's token, 5 the epoch it is for,
-- 6 the lease in ms

local token, epoch, lease = ARGV[4], ARGV[5], tonumber(ARGV[6])
local name = 'c:' .. token
local status = 'OK'

if not entry.e then
  move(fresh)
end
if leases[name] then
  status = 'OK' -- repeated
elseif busy() > 0 then
  status = 'BUSY'
  if not claimed() then
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
