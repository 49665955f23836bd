-- Replaces an instance's webhook, if it is still the one that was read.
--
-- KEYS  1 hash of webhooks   2 their version   3 ZSET of destinations with parked deliveries
-- ARGV  1 instance   2 the JSON that was read   3 the JSON to store
-- Returns 1, or 0 when it was changed meanwhile. The version moves as in webhook_set.lua, and what waits is looked
-- at.
if redis.call('HGET', KEYS[1], ARGV[1]) ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
redis.call('ZADD', KEYS[3], 0, 'instance:' .. ARGV[1])
local now = redis.call('TIME')
local version = math.max(now[1] * 1000000 + now[2], tonumber(redis.call('GET', KEYS[2]) or 0) + 1)
redis.call('SET', KEYS[2], string.format('%.0f', version))
return 1
