-- Queues an event about a destination for the ERRORS webhook, unless one was queued a while ago.
--
-- KEYS  1 string that is there for so long as nothing more is to be told of the destination   2 ready stream
--       3 hash of the event
-- ARGV  1 for how many ms nothing more is to be told, 0: tell in any case   2 body   3 event id   4 event key
-- Returns 1 when it was queued, else 0.
--
-- The first write is one that would free (see wait.lua).
redis.call('XDEL', KEYS[2], '0-0')
if ARGV[1] ~= '0' and not redis.call('SET', KEYS[1], 1, 'NX', 'PX', ARGV[1]) then return 0 end
local now = redis.call('TIME')
redis.call('HSET', KEYS[3], 'payload', ARGV[2],
  'event', ARGV[3] .. ' ' .. string.format('%.0f', now[1] * 1000 + math.floor(now[2] / 1000)))
redis.call('XADD', KEYS[2], '*', 'event', ARGV[4], 'destination', 'errors')
return 1
