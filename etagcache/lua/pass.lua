-- KEYS: 1 the entry   ARGV: 4 the pass's token, 5 the lease in ms

local token, lease = ARGV[4], tonumber(ARGV[5])
local name = 'p:' .. token
local status = 'OK'

if leases[name] then
  status = 'OK' -- repeated
elseif claimed() or reserved() > 0 then
  status = 'BUSY'
else
  hold(name, lease)
  drop()
  move(token)
end
keep()

local reply = answer(status)
if status == 'BUSY' then
  reply[3] = wait()
end
return reply
