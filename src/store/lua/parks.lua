-- Tells whose parked deliveries somebody should look at now, and keeps the other workers from it for a while.
--
-- KEYS  1 ZSET of destinations with parked deliveries: when to look at them next, Unix ms
-- ARGV  1 how many at most   2 for how many ms nobody else looks
-- Returns {ms until the next is due or -1 when nothing is parked, destination, …}.
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now, 'LIMIT', 0, ARGV[1])
redis.call('ZREM', KEYS[1], '')
for i = 1, #due do redis.call('ZADD', KEYS[1], 'XX', now + ARGV[2], due[i]) end
local first = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')
return {first[2] and math.max(0, first[2] - now) or -1, unpack(due)}
