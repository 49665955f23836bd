-- Acknowledges entries whose events have a hash: deliveries that arrived after a retry, and events with several
-- destinations of which one had to be recorded.
--
-- KEYS  1 stream the entries were read from   2… hash of each entry's event
-- ARGV  1 group   2… for each entry: its id, and the destination that is done ("" for the entry itself)
-- Returns how many entries were acknowledged. One that was acknowledged before changes nothing, so that a success
-- counts once, whoever reports it.
local stream, group = KEYS[1], ARGV[1]
local acknowledged = {}
for i = 2, #KEYS do
  local event, entry, destination = KEYS[i], ARGV[2 * i - 2], ARGV[2 * i - 1]
  if redis.call('XACK', stream, group, entry) == 1 then
    acknowledged[#acknowledged + 1] = entry
    -- A key that is not posthaste's is left alone: a table then.
    local live = redis.pcall('HGET', event, 'live')
    if type(live) ~= 'table' then
      if not live or tonumber(live) <= 1 then
        redis.call('DEL', event)
      else
        redis.call('HINCRBY', event, 'live', -1)
        if destination ~= '' then
          redis.call('HDEL', event, 'attempts:' .. destination, 'first:' .. destination, 'last:' .. destination)
          redis.call('HSET', event, 'done:' .. destination, 1)
        end
      end
    end
  end
end
if #acknowledged > 0 then redis.call('XDEL', stream, unpack(acknowledged)) end
return #acknowledged
