-- Acknowledges and deletes entries whose deliveries all arrived, and records what was done.
--
-- KEYS  1 producers' stream   2 stream of recent attempts   3 hash of totals
-- ARGV  1 group   2 how many batches of attempts are kept   3 JSON array of the batch's attempts, "" for none
--       4 how many totals follow   5… their fields and increments in turn, then the entries' ids
-- Returns how many entries were acknowledged.
--
-- A script and not a MULTI: at maxmemory Redis refuses every MULTI, so that nothing could be settled and no memory
-- would ever be freed, but completes a script whose first write is one that frees.
local first = 5 + 2 * tonumber(ARGV[4])
local acknowledged = 0
if #ARGV >= first then
  acknowledged = redis.call('XACK', KEYS[1], ARGV[1], unpack(ARGV, first))
  redis.call('XDEL', KEYS[1], unpack(ARGV, first))
else
  redis.call('HDEL', KEYS[3], '')
end
if ARGV[3] ~= '' then redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[2], '*', 'batch', ARGV[3]) end
for i = 5, first - 1, 2 do redis.call('HINCRBY', KEYS[3], ARGV[i], ARGV[i + 1]) end
return acknowledged
