-- Puts deliveries back to wait for another attempt, after one that failed.
--
-- KEYS  1 stream the entries were read from   2 ZSET of deliveries in backoff   3… hash of each delivery's event
-- ARGV  1 group   2 consumer   3 "1" when the stream is the ready stream (the hashes exist already)   4… for each
--       delivery: its entry's id, "1" when it is all the entry is held for, its member of the ZSET, destination, what
--       was tried (`progress.rs`), ms to wait, the words of the event, payload or "" to take the entry's
-- Returns for each delivery 1; 0 when all this was done before (a reply was lost and the caller tries again); -1 when
-- the entry is not this consumer's any more; or, in words, why its event's key cannot be used: then it stays as it is.
--
-- For many at a time and with few commands for each, as park.lua: one XPENDING tells of nearly all whose they are, and
-- a small payload comes with the call. A large one goes from the entry to the hash inside the server. Redis does not
-- roll scripts back, so entries are acknowledged last: whatever fails before leaves them pending. The first write is one
-- that would free: Redis completes such a script even at maxmemory. What can fail as a whole comes before the hashes:
-- one that tells of the delivery means that the delivery is taken care of.
local stream, waiting, group, consumer, ready = KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3] == '1'
local count, width = #KEYS - 2, 8

-- They come in the order of the stream.
local owned = {}
local pending = redis.call('XPENDING', stream, group, ARGV[4], ARGV[4 + width * (count - 1)], 2 * count, consumer)
for i = 1, #pending do owned[pending[i][1]] = true end

local function payload_of(entry)
  local found = redis.call('XRANGE', stream, entry, entry)[1]
  local fields = found and found[2] or {}
  for i = 1, #fields, 2 do
    if fields[i] == 'payload' then return fields[i + 1] end
  end
end

local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local results, payloads, members = {}, {}, {}
for i = 1, count do
  local at, result = 3 + width * (i - 1), 1
  local entry, destination = ARGV[at + 1], ARGV[at + 4]
  if not owned[entry] and #redis.call('XPENDING', stream, group, entry, entry, 1, consumer) == 0 then
    result = -1
  elseif ARGV[at + 2] ~= '1' then
    local known = redis.pcall('HMGET', KEYS[2 + i], 'tried:' .. destination, 'done:' .. destination)
    if known.err then result = known.err elseif known[1] or known[2] then result = 0 end
  end
  if result == 1 and not ready then
    payloads[i] = ARGV[at + 8] ~= '' and ARGV[at + 8] or payload_of(entry)
    if not payloads[i] then result = -1 end
  end
  if result == 1 then
    members[#members + 1] = now + ARGV[at + 6]
    members[#members + 1] = ARGV[at + 3]
  end
  results[i] = result
end
if #members == 0 then return results end

redis.call('XDEL', stream, '0-0')
redis.call('ZADD', waiting, unpack(members))

-- Writes what is known of the delivery; returns why that is not possible.
local function remember(event, payload, at)
  local tried, sole, written = 'tried:' .. ARGV[at + 4], ARGV[at + 2] == '1', nil
  if payload and (sole or redis.call('HEXISTS', event, 'payload') == 0) then
    written = redis.pcall('HSET', event, tried, ARGV[at + 5], 'event', ARGV[at + 7], 'payload', payload)
  else
    written = redis.pcall('HSET', event, tried, ARGV[at + 5])
  end
  if type(written) == 'table' then return written.err end
  -- `live` counts the deliveries that wait, and the entry itself while it is not acknowledged. A sole one needs none.
  if payload and not sole then
    redis.call('HSETNX', event, 'live', 1)
    redis.call('HINCRBY', event, 'live', 1)
  end
end

local settled = {}
for i = 1, count do
  if results[i] == 1 then
    local at = 3 + width * (i - 1)
    local failed = remember(KEYS[2 + i], payloads[i], at)
    if failed then
      results[i] = failed
      redis.call('ZREM', waiting, ARGV[at + 3])
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
