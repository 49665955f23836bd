-- Puts a delivery back to wait for another attempt, after one that failed.
--
-- KEYS  1 stream the entry was read from   2 hash of the event   3 ZSET of deliveries in backoff
-- ARGV  1 group   2 consumer   3 entry id   4 "1" when this delivery is all the entry is held for
--       5 "1" when the entry is one of the ready stream (the hash exists already)
--       6 event key   7 destination   8 how many attempts were made   9 Unix ms of the first attempt or ""
--       10 ms to wait   11 what the last attempt came to or ""
--       12 event id   13 Unix ms of the push   14 traceparent or ""
-- Returns the due time in Unix ms; 0 when all this was done before (a reply was lost and the caller tries again);
-- -1 when the entry is not this consumer's any more.
--
-- The payload goes from the entry to the hash inside the server. Redis does not roll scripts back, so the entry is
-- acknowledged last: whatever fails before leaves it pending. The first write is one that would free: Redis
-- completes such a script even at maxmemory.
local stream, event, waiting = KEYS[1], KEYS[2], KEYS[3]
local group, consumer, entry, destination = ARGV[1], ARGV[2], ARGV[3], ARGV[7]
local sole, ready = ARGV[4] == '1', ARGV[5] == '1'

if #redis.call('XPENDING', stream, group, entry, entry, 1, consumer) == 0 then return -1 end
if not sole then
  local known = redis.call('HMGET', event, 'attempts:' .. destination, 'done:' .. destination)
  if known[1] or known[2] then return 0 end
end

local payload
if not ready then
  local found = redis.call('XRANGE', stream, entry, entry)
  if not found[1] then return -1 end
  local fields = found[1][2]
  for i = 1, #fields, 2 do
    if fields[i] == 'payload' then payload = fields[i + 1] end
  end
end

redis.call('XDEL', stream, '0-0')
local now = redis.call('TIME')
local due = now[1] * 1000 + math.floor(now[2] / 1000) + ARGV[10]
redis.call('ZADD', waiting, due, ARGV[6] .. ' ' .. destination)
if payload then
  if redis.call('HEXISTS', event, 'payload') == 0 then
    redis.call('HSET', event, 'payload', payload, 'id', ARGV[12], 'pushed', ARGV[13])
    if ARGV[14] ~= '' then redis.call('HSET', event, 'traceparent', ARGV[14]) end
  end
  -- `live` counts the deliveries that wait, and the entry itself while it is not acknowledged.
  if not sole then redis.call('HSETNX', event, 'live', 1) end
  redis.call('HINCRBY', event, 'live', 1)
end
redis.call('HSET', event, 'attempts:' .. destination, ARGV[8])
if ARGV[9] ~= '' then redis.call('HSET', event, 'first:' .. destination, ARGV[9]) end
if ARGV[11] ~= '' then redis.call('HSET', event, 'last:' .. destination, ARGV[11]) end
if sole then
  redis.call('XACK', stream, group, entry)
  redis.call('XDEL', stream, entry)
end
return due
