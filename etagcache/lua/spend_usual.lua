-- Announces one state that the only write in flight may replace (spend.lua).

local function usual()
  if not (generation_stands() and server_stands() and entry_stands() and leases == 1 and lease == ARGV[9] and
      lease_ends and lease_length and lease_length <= hour and lease_ends > now and lease_ends <= now + lease_length and
      not entry.h and #ARGV == 10 and ARGV[10] ~= '' and spent_stands() and count < max_spent) then
    return nil
  end
  local before = lease_lag()
  if lag == 0 and before == 0 then
    return nil
  end
  if lag > before then
    redis.call('HSET', key, 'h', ARGV[10], 'l', text(lag))
  else
    redis.call('HSET', key, 'h', ARGV[10])
  end
  keep(lease_ends - now + math.max(noted_lag, before))
  return { 'OK' }
end
