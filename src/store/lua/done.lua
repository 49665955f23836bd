-- Acknowledges entries whose events have a hash: deliveries that arrived after a retry, and events with several
-- destinations of which one had to be recorded.
--
-- KEYS  1 stream the entries were read from   2… hash of each entry's event
-- ARGV  1 group   2… for each entry, in the order of the stream: its id, the destination that is done ("" for the entry
--       itself), and "1" when the event has no other delivery left, so that nobody else writes to its hash any more
-- Returns how many entries were acknowledged. One that was acknowledged before changes nothing, so that a success
-- counts once, whoever reports it.
--
-- With few commands for many entries, as wait.lua. What is acknowledged first has arrived, or is recorded: nothing of it
-- can be lost.
local stream, group, count, width = KEYS[1], ARGV[1], #KEYS - 1, 3
local pending = {}
local found = redis.call('XPENDING', stream, group, ARGV[2], ARGV[2 + width * (count - 1)], 2 * count)
for i = 1, #found do pending[found[i][1]] = true end

local acknowledged, over, others = {}, {}, {}
for i = 1, count do
  local at = 2 + width * (i - 1)
  local entry = ARGV[at]
  if pending[entry] == nil then pending[entry] = #redis.call('XPENDING', stream, group, entry, entry, 1) == 1 end
  if pending[entry] then
    pending[entry] = false
    acknowledged[#acknowledged + 1] = entry
    if ARGV[at + 2] == '1' then over[#over + 1] = KEYS[i + 1] else others[#others + 1] = i end
  end
end
if #acknowledged == 0 then return 0 end

redis.call('XACK', stream, group, unpack(acknowledged))
redis.call('XDEL', stream, unpack(acknowledged))
if #over > 0 then redis.call('DEL', unpack(over)) end
for _, i in ipairs(others) do
  local event, destination = KEYS[i + 1], ARGV[3 + width * (i - 1)]
  -- A key that is not posthaste's is left alone: a table then.
  local live = redis.pcall('HGET', event, 'live')
  if type(live) ~= 'table' then
    if (tonumber(live) or 1) <= 1 then
      redis.call('DEL', event)
    else
      redis.call('HINCRBY', event, 'live', -1)
      if destination ~= '' then
        redis.call('HDEL', event, 'tried:' .. destination)
        redis.call('HSET', event, 'done:' .. destination, 1)
      end
    end
  end
end
return #acknowledged
