-- Moves deliveries whose wait is over to the ready stream, the longest due first.
--
-- KEYS  1 ZSET of waiting deliveries   2 ready stream
-- ARGV  1 how many at most
-- Returns {how many were moved, ms until the next is due or -1 when none waits}.
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])
-- The first write is one that would free (see wait.lua), and what leaves the ZSET is in the stream before.
redis.call('ZREM', KEYS[1], '')
for i = 1, #due do
  local space = string.find(due[i], ' ', 1, true)
  redis.call('XADD', KEYS[2], '*', 'event', string.sub(due[i], 1, space - 1),
    'destination', string.sub(due[i], space + 1))
end
if #due > 0 then redis.call('ZREM', KEYS[1], unpack(due)) end
local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
if not first[2] then return {#due, -1} end
return {#due, math.max(0, first[2] - now)}
