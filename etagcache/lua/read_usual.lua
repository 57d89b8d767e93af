-- Creates the entry (read.lua).

local function usual()
  if not (generation_stands() and ARGV[4] == marked[6] and server_stands()) or entry_stands() or not absent then
    return nil
  end
  entry.e = ARGV[1]
  redis.call('HSET', key, 'e', entry.e, 'g', marked[1])
  keep(0)
  return shown(0, '', 0)
end
