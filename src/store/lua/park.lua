-- Parks deliveries to one destination: they wait there without having been attempted.
--
-- KEYS  1 stream the entries were read from   2 ZSET of the destination's parked deliveries
--       3 ZSET of destinations with parked deliveries: when to look at them next, Unix ms
--       4 hash of the same: since when and why, `<Unix ms> <reason>`   5 hash of paused destinations
--       6… hash of each entry's event
-- ARGV  1 group   2 consumer   3 destination   4 "1" when the stream is the ready stream (the hashes exist already)
--       5 ms to wait   6 why they are parked   7… for each entry: its id, "1" when this delivery is all the entry is
--       held for, event key, Unix ms of the push, the words of the event (`progress.rs`), payload or "" to take the
--       entry's, how often its holders died, `<attempts> <times>`, or "" for never
-- Returns for each entry 1; 0 when it was parked before (a reply was lost and the caller tries again); -1 when the
-- entry is not this consumer's any more; or, in words, why its event's key cannot be used: then it stays as it is.
--
-- What is parked because of a pause that has ended meanwhile is behind, and is looked at at once: the end of the pause did
-- not find it here.
--
-- For many at a time and with few commands for each, since a flood is thousands a second: one XPENDING tells of nearly
-- all whose they are, and a small payload comes with the call. As in wait.lua, a large one goes from the entry to the
-- hash inside the server, the first write is one that would free, and entries are acknowledged last. What can fail as
-- a whole comes before the hashes: one that tells of the delivery means that the delivery is taken care of.
local stream, park, group, consumer = KEYS[1], KEYS[2], ARGV[1], ARGV[2]
local destination, ready, reason = ARGV[3], ARGV[4] == '1', ARGV[6]
local tried, count, wait = 'tried:' .. destination, #KEYS - 5, tonumber(ARGV[5])

local was_resumed = reason == 'paused' and redis.call('HEXISTS', KEYS[5], destination) == 0
if was_resumed then reason, wait = 'behind', 0 end

-- They came in the order of the stream, or nearly so, with few of other destinations between them.
local owned = {}
local pending = redis.call('XPENDING', stream, group, ARGV[7], ARGV[7 * count], 2 * count, consumer)
for i = 1, #pending do owned[pending[i][1]] = true end
local function is_owned(entry)
  return owned[entry] or #redis.call('XPENDING', stream, group, entry, entry, 1, consumer) > 0
end

local function payload_of(entry)
  local found = redis.call('XRANGE', stream, entry, entry)[1]
  local fields = found and found[2] or {}
  for i = 1, #fields, 2 do
    if fields[i] == 'payload' then return fields[i + 1] end
  end
end

local results, payloads, members = {}, {}, {}
for i = 1, count do
  local at = 7 * i - 1
  local entry, result = ARGV[at + 1], 1
  if not is_owned(entry) then
    result = -1
  elseif ARGV[at + 2] ~= '1' then
    local known = redis.pcall('HMGET', KEYS[5 + i], tried, 'done:' .. destination)
    if known.err then result = known.err elseif known[1] or known[2] then result = 0 end
  end
  if result == 1 and not ready then
    payloads[i] = ARGV[at + 6] ~= '' and ARGV[at + 6] or payload_of(entry)
    if not payloads[i] then result = -1 end
  end
  if result == 1 then
    -- The oldest event comes back first.
    members[#members + 1] = ARGV[at + 4]
    members[#members + 1] = ARGV[at + 3]
  end
  results[i] = result
end
if #members == 0 then return results end

redis.call('XDEL', stream, '0-0')
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
redis.call('ZADD', park, unpack(members))
-- What is down is left alone for as long as was found out last; whatever else comes must not put it off.
-- 0 is for at once: its webhook was changed.
local known = redis.call('HGET', KEYS[4], destination)
if redis.call('ZSCORE', KEYS[3], destination) ~= '0' then
  local if_later = was_resumed and not (known and string.find(known, ' down', 1, true))
  redis.call('ZADD', KEYS[3], reason == 'down' and 'GT' or if_later and 'LT' or 'NX', now + wait, destination)
end
if not known then
  redis.call('HSET', KEYS[4], destination, string.format('%.0f', now) .. ' ' .. reason)
elseif reason ~= 'behind' and not string.find(known, ' ' .. reason, 1, true) then
  redis.call('HSET', KEYS[4], destination, string.match(known, '^%d+') .. ' ' .. reason)
end

-- `live` counts the deliveries that wait, and the entry itself while it is not acknowledged. A sole one needs none.
local function remember(event, payload, at)
  if ARGV[at + 2] == '1' then
    local written = redis.pcall('HSET', event, tried, 0, 'event', ARGV[at + 5], 'payload', payload)
    if type(written) == 'table' then return written.err end
  else
    if redis.call('HEXISTS', event, 'payload') == 0 then
      redis.call('HSET', event, 'event', ARGV[at + 5], 'payload', payload)
    end
    redis.call('HSETNX', event, 'live', 1)
    redis.call('HINCRBY', event, 'live', 1)
    redis.call('HSET', event, tried, 0)
  end
end

local settled = {}
for i = 1, #results do
  if results[i] == 1 then
    local at, failed = 7 * i - 1, nil
    if not ready then failed = remember(KEYS[5 + i], payloads[i], at) end
    -- With the number of attempts: once another was made, it tells nothing.
    if not failed and ARGV[at + 7] ~= '' then redis.call('HSET', KEYS[5 + i], 'taken:' .. destination, ARGV[at + 7]) end
    if failed then
      results[i] = failed
      redis.call('ZREM', park, ARGV[at + 3])
    elseif ARGV[at + 2] == '1' then
      settled[#settled + 1] = ARGV[at + 1]
    end
  end
end
if #settled > 0 then
  redis.call('XACK', stream, group, unpack(settled))
  redis.call('XDEL', stream, unpack(settled))
end
return results
