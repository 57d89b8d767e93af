-- Takes a claim and returns the entry.
-- KEYS: 1 the entry, 2 the marker   ARGV: 9 the claim's token, 10 the epoch
-- that it is based on; the identities of the states that the write may replace follow

local token, epoch = ARGV[9], ARGV[10]
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
  hold(name)
  redis.call('HDEL', key, 'q')
  move(token)
  for i = 11, #ARGV do
    spending().spend(ARGV[i], 0)
  end
end
keep()
return answer(status)
