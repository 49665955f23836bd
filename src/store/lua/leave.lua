-- A worker leaves: its consumers go when they hold nothing, else it counts as dead from now on, so that the others
-- take over at once what it could not finish.
--
-- KEYS  1 ZSET of workers   2 producers' stream   3 ready stream
-- ARGV  1 group   2 the worker
-- Returns how many entries (two at most are looked at) it leaves to the others.
local left = 0
for s = 2, 3 do
  left = left + #redis.call('XPENDING', KEYS[s], ARGV[1], '-', '+', 1, ARGV[2])
end
if left > 0 then
  redis.call('ZREM', KEYS[1], ARGV[2])
  redis.call('ZADD', KEYS[1], 0, ARGV[2])
  return left
end
redis.call('XGROUP', 'DELCONSUMER', KEYS[2], ARGV[1], ARGV[2])
redis.call('XGROUP', 'DELCONSUMER', KEYS[3], ARGV[1], ARGV[2])
redis.call('ZREM', KEYS[1], ARGV[2])
return 0
