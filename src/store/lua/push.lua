-- Pushes an event, unless one was pushed under the same key lately.
--
-- KEYS  1 producers' stream   2 string that remembers the key
-- ARGV  1 payload   2 event id   3 traceparent or ""   4 hash of the payload   5 how long to remember it, ms
--       6 "1" when the event id is the key, which need not be remembered twice
-- Returns 0 and "" when it was pushed; 1 and the id of the event that was pushed under this key before, when that had
-- the same payload; 2 and that id, when it had another. An id that is the key is "".
--
-- What remembers comes after what it remembers: a push that fails leaves nothing, and is made when it is repeated. So
-- the first write is one that Redis refuses at maxmemory, which is as it should be: this brings something new.
local known = redis.call('GET', KEYS[2])
if known then
  local hash, id = string.match(known, '^(%S*) ?(.*)$')
  return { hash == ARGV[4] and 1 or 2, id }
end
local fields = { 'payload', ARGV[1], 'id', ARGV[2] }
if ARGV[3] ~= '' then
  fields[5], fields[6] = 'traceparent', ARGV[3]
end
redis.call('XADD', KEYS[1], '*', unpack(fields))
local id = ARGV[6] == '1' and '' or ' ' .. ARGV[2]
redis.call('SET', KEYS[2], ARGV[4] .. id, 'PX', ARGV[5])
return { 0, '' }
