-- Announces what a write may replace.
-- KEYS: 1 the entry, 2 the marker   ARGV: 9 the field of the grant (c: or p: and its
-- token); the identities of the states follow

join()
if not leases[ARGV[9]] then
  return { 'LOST' }
end
for i = 10, #ARGV do
  spending().spend(ARGV[i], 0)
end
keep()
return { 'OK' }
