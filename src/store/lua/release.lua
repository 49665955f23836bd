-- A worker that stops hands back entries it has not begun: they go to a consumer of their own that counts as one that
-- has left, so that the others take them over at once, while the worker finishes the rest.
--
-- KEYS  1 stream the entries were read from   2 ZSET of workers
-- ARGV  1 group   2 the worker   3 the consumer they go to   4… ids of the entries
-- Returns how many were handed back.
local released = 0
for i = 4, #ARGV do
  if #redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[i], ARGV[i], 1, ARGV[2]) > 0 then
    redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[3], 0, ARGV[i], 'JUSTID')
    released = released + 1
  end
end
if released > 0 then
  redis.call('ZREM', KEYS[2], ARGV[3])
  redis.call('ZADD', KEYS[2], 0, ARGV[3])
end
return released
