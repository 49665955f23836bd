-- Marks consumers without a heartbeat as dead, so that they are taken over: they never beat, or their heartbeats were
-- lost with Redis' data.
--
-- KEYS  1 ZSET of workers   2 producers' stream   3 ready stream
-- ARGV  1 group
-- Returns how many were marked. A stream or group that is missing has none; the reader creates it.
redis.call('ZREM', KEYS[1], '')
local marked = 0
for s = 2, 3 do
  local consumers = redis.pcall('XINFO', 'CONSUMERS', KEYS[s], ARGV[1])
  if consumers.err then consumers = {} end
  for i = 1, #consumers do
    local facts = consumers[i]
    for j = 1, #facts, 2 do
      if facts[j] == 'name' then marked = marked + redis.call('ZADD', KEYS[1], 'NX', 0, facts[j + 1]) end
    end
  end
end
return marked
