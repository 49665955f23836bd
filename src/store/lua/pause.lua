-- Pauses a destination, or has it go on, and moves the version of the webhooks, by which workers see that.
--
-- KEYS  1 hash of paused destinations: since when, Unix ms   2 version of the webhooks
--       3 ZSET of destinations with parked deliveries   4 hash of the same: since when and why
-- ARGV  1 destination   2 "1" to pause it, "0" to have it go on
-- Returns 1 when that changed anything, else 0. Repeated, it changes nothing.
--
-- The version is a time, as in webhook_set.lua. What was parked is looked at at once when the destination goes on, and
-- waits for its turn then, not for the pause. The first write is one that would free (see wait.lua).
redis.call('HDEL', KEYS[1], '')
local now = redis.call('TIME')
if ARGV[2] == '1' then
  local ms = string.format('%.0f', now[1] * 1000 + math.floor(now[2] / 1000))
  if redis.call('HSETNX', KEYS[1], ARGV[1], ms) == 0 then return 0 end
else
  if redis.call('HDEL', KEYS[1], ARGV[1]) == 0 then return 0 end
  local known = redis.call('HGET', KEYS[4], ARGV[1])
  if known then
    redis.call('HSET', KEYS[4], ARGV[1], string.match(known, '^%d+') .. ' behind')
    redis.call('ZADD', KEYS[3], 0, ARGV[1])
  end
end
local version = math.max(now[1] * 1000000 + now[2], tonumber(redis.call('GET', KEYS[2]) or 0) + 1)
redis.call('SET', KEYS[2], string.format('%.0f', version))
return 1
