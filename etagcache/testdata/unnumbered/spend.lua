-- Announces what a write may replace.
-- KEYS: 1 the entry, 2 the marker   ARGV: 7 the field of the grant (c: or p: and its
-- token); the identities of the states follow

join()
if not leases[ARGV[7]] then
  return { 'LOST' }
end
for i = 8, #ARGV do
  spending().spend(ARGV[i], 0)
end
keep()
return { 'OK' }
