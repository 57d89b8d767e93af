-- Announces one state that the only write in flight may replace (spend.lua).

local function usual()
  if not (generation_stands() and server_stands() and entry_stands() and leases == 1 and lease == ARGV[9] and
      lease_ends and lease_length and lease_length <= 3600000 and lease_ends > now and lease_ends <= now + lease_length and
      not entry.h and #ARGV == 10 and ARGV[10] ~= '' and spent_stands() and count < max_spent) then
    return nil
  end
  local lease_lag = math.min(number(entry.l) or 0, 3600000)
  if lag == 0 and lease_lag == 0 then
    return nil
  end
  if lag > lease_lag then
    redis.call('HSET', key, 'h', ARGV[10], 'l', text(lag))
  else
    redis.call('HSET', key, 'h', ARGV[10])
  end
  keep(lease_ends - now + math.max(noted_lag, lease_lag))
  return { 'OK' }
end
