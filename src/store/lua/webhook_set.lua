-- Stores or removes an instance's webhook, and moves the version.
--
-- KEYS  1 hash of webhooks   2 their version   3 ZSET of destinations with parked deliveries
-- ARGV  1 instance   2 JSON, or "" to remove
-- Returns 1 when it was there before, else 0.
--
-- The version is a time in µs (or one more than it was): after a FLUSHALL a counter would begin anew and come to
-- versions that workers know already, with other webhooks. What waits for the instance is looked at now: it may be
-- rescued, or has to be given up.
local function move()
  local now = redis.call('TIME')
  local version = math.max(now[1] * 1000000 + now[2], tonumber(redis.call('GET', KEYS[2]) or 0) + 1)
  redis.call('SET', KEYS[2], string.format('%.0f', version))
end
local known = redis.call('HEXISTS', KEYS[1], ARGV[1])
if ARGV[2] == '' then
  redis.call('HDEL', KEYS[1], ARGV[1])
else
  redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
end
redis.call('ZADD', KEYS[3], 0, 'instance:' .. ARGV[1])
move()
return known
