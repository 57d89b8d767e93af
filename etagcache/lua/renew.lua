-- KEYS: 1 the entry   ARGV: 4 the kind of the grant and its token, 5 the lease
-- in ms

local name, lease = ARGV[4], tonumber(ARGV[5])

if not leases[name] then
  return { 'LOST' }
end
hold(name, lease)
keep()
return { 'OK' }
