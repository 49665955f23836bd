-- Creates both streams with their group, where they do not exist.
--
-- KEYS  1 producers' stream   2 ready stream   3 ZSET of workers
-- ARGV  1 group
-- Returns how many groups were created.
--
-- At maxmemory Redis refuses a bare XGROUP CREATE, so that a worker could not start to drain what fills it, but not a
-- script whose first write is one that frees (or would).
redis.call('ZREM', KEYS[3], '')
local created = 0
for s = 1, 2 do
  local reply = redis.pcall('XGROUP', 'CREATE', KEYS[s], ARGV[1], '0', 'MKSTREAM')
  if not reply.err then
    created = created + 1
  elseif string.sub(reply.err, 1, 9) ~= 'BUSYGROUP' then
    return reply
  end
end
return created
