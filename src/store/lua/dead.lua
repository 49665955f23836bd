-- Turns a delivery, or an entry that is not an event, into a dead letter, and queues the error delivery with it.
--
-- KEYS  1 stream the entry was read from   2 hash of the event   3 stream of dead letters   4 ready stream
--       5 hash of the error event
-- ARGV  1 group   2 consumer   3 entry id   4 "1" when this delivery is all the entry is held for
--       5 "1" when the entry is one of the ready stream   6 destination, "" for an entry that is not an event
--       7 body of the error event, "" for none   8 id of the error event   9 event key of the error event
--       10… fields of the dead letter, name and value in turn, without the payload
-- Returns 1; 0 when all this was done before (a reply was lost and the caller tries again); -1 when the entry is not
-- this consumer's any more.
--
-- The payload goes from the entry or the hash to the dead letter inside the server. Of an entry without one all
-- fields and values are kept in `entry`, as netstrings (`<length>:<bytes>,`): any number of them, byte for byte.
-- A key of the event that is no hash is left as it is.
-- Redis does not roll scripts back, so the entry is acknowledged last: whatever fails before leaves it pending. The
-- first write is one that would free: Redis completes such a script even at maxmemory.
local stream, event, dead, ready_stream, error_event = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local group, consumer, entry, destination = ARGV[1], ARGV[2], ARGV[3], ARGV[6]
local sole, ready = ARGV[4] == '1', ARGV[5] == '1'

if #redis.call('XPENDING', stream, group, entry, entry, 1, consumer) == 0 then return -1 end
if not sole and redis.call('HEXISTS', event, 'done:' .. destination) == 1 then return 0 end

local letter = {}
for i = 10, #ARGV do letter[#letter + 1] = ARGV[i] end
local payload, original
local known = redis.call('TYPE', event)['ok'] == 'hash'
if ready and known then payload = redis.call('HGET', event, 'payload') end
if not payload then
  local found = redis.call('XRANGE', stream, entry, entry)
  local fields = found[1] and found[1][2] or {}
  for i = 1, #fields, 2 do
    if not ready and fields[i] == 'payload' then payload = fields[i + 1] end
  end
  if not payload then
    for i = 1, #fields do fields[i] = #fields[i] .. ':' .. fields[i] .. ',' end
    original = table.concat(fields)
  end
end
letter[#letter + 1] = payload and 'payload' or 'entry'
letter[#letter + 1] = payload or original or ''

redis.call('XDEL', stream, '0-0')
redis.call('XADD', dead, '*', unpack(letter))
if ARGV[7] ~= '' then
  local now = redis.call('TIME')
  redis.call('HSET', error_event, 'payload', ARGV[7],
    'event', ARGV[8] .. ' ' .. string.format('%.0f', now[1] * 1000 + math.floor(now[2] / 1000)))
  redis.call('XADD', ready_stream, '*', 'event', ARGV[9], 'destination', 'errors')
end
if ready and known then
  if redis.call('HINCRBY', event, 'live', -1) <= 0 then
    redis.call('DEL', event)
  else
    redis.call('HDEL', event, 'tried:' .. destination)
    redis.call('HSET', event, 'done:' .. destination, 1)
  end
elseif not ready and not sole then
  redis.call('HSETNX', event, 'live', 1)
  redis.call('HSET', event, 'done:' .. destination, 1)
end
if sole then
  redis.call('XACK', stream, group, entry)
  redis.call('XDEL', stream, entry)
end
return 1
