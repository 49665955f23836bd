-- Sends a dead letter on its way again: to its destination, or back to the producers' stream when it was no event.
--
-- KEYS  1 stream of dead letters   2 producers' stream   3 ready stream   4 hash of the replayed event
-- ARGV  1 id of the dead letter   2 event key of the replayed event
-- Returns 1; 0 when there is no such dead letter (any more); -1 when it has no payload that could be sent.
--
-- Its age and its attempts begin anew; payload and event id are the same.
local found = redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1])
if not found[1] then return 0 end
local fields = found[1][2]
local letter = {}
for i = 1, #fields, 2 do letter[fields[i]] = fields[i + 1] end
if not letter['payload'] then return -1 end

-- The first write is one that would free (see wait.lua); the dead letter goes last.
redis.call('XDEL', KEYS[1], '0-0')
if letter['destination'] == '' then
  redis.call('XADD', KEYS[2], '*', 'payload', letter['payload'], 'id', letter['id'])
  redis.call('XDEL', KEYS[1], ARGV[1])
  return 1
end
local now = redis.call('TIME')
local words = letter['id'] .. ' ' .. string.format('%.0f', now[1] * 1000 + math.floor(now[2] / 1000))
if letter['traceparent'] then words = words .. ' ' .. letter['traceparent'] end
redis.call('HSET', KEYS[4], 'payload', letter['payload'], 'event', words)
redis.call('XADD', KEYS[3], '*', 'event', ARGV[2], 'destination', letter['destination'])
redis.call('XDEL', KEYS[1], ARGV[1])
return 1
