-- Hands parked deliveries of one destination to a worker: those of the oldest events, or a later one.
--
-- KEYS  1 ZSET of the destination's parked deliveries: event key, by the Unix ms of the push
--       2 ZSET of destinations with parked deliveries   3 hash of the same   4 ready stream
-- ARGV  1 group   2 the worker   3 destination   4 how many   5 how many at most of those pushed before
--       6 this time, Unix ms, which are handed out in any case   7 ms until somebody looks at the rest, "" to leave that
--       as it is   8 "" for the oldest, else a number in 0..1: for the one at the place, counted from the latest, that
--       is the number of all to this power
-- Returns {entries of the ready stream, how many of them had expired, how many are left}.
--
-- They become entries of the ready stream and are read in the same step, so that they are pending under the worker's
-- name from the first moment on. Where that stream had entries before, those are read first, and some of these by
-- whoever reads next. The first write is one that would free (see wait.lua), and what leaves the park is in the
-- stream before.
local park, destination = KEYS[1], ARGV[3]
local expired = #redis.call('ZRANGEBYSCORE', park, '-inf', '(' .. ARGV[6], 'LIMIT', 0, ARGV[5])
local count = math.max(expired, tonumber(ARGV[4]))
local members = {}
if ARGV[8] ~= '' and expired == 0 then
  local place = math.max(1, math.floor(redis.call('ZCARD', park) ^ tonumber(ARGV[8])))
  members = redis.call('ZRANGE', park, -place, -place)
elseif count > 0 then
  members = redis.call('ZRANGE', park, 0, count - 1)
end
redis.call('ZREM', park, '')
for i = 1, #members do
  redis.call('XADD', KEYS[4], '*', 'event', members[i], 'destination', destination, 'parked', '1')
end
if #members > 0 then redis.call('ZREM', park, unpack(members)) end
local left = redis.call('ZCARD', park)
-- A webhook that was changed is looked at first (see webhook_set.lua), and there is more that has expired.
local at_once = redis.call('ZSCORE', KEYS[2], destination) == '0' or expired >= tonumber(ARGV[5])
if at_once then
  redis.call('ZADD', KEYS[2], 'XX', 0, destination)
  if left == 0 then redis.call('HDEL', KEYS[3], destination) end
elseif left == 0 then
  redis.call('ZREM', KEYS[2], destination)
  redis.call('HDEL', KEYS[3], destination)
elseif ARGV[7] ~= '' then
  local now = redis.call('TIME')
  redis.call('ZADD', KEYS[2], 'XX', now[1] * 1000 + math.floor(now[2] / 1000) + ARGV[7], destination)
end
local taken = {}
if #members > 0 then
  local read = redis.call('XREADGROUP', 'GROUP', ARGV[1], ARGV[2], 'COUNT', #members, 'STREAMS', KEYS[4], '>')
  if read then taken = read[1][2] end
end
return {taken, expired, left}
