-- Notes which destinations of entries are done while others are still under way, so that a crash does not repeat them.
--
-- KEYS  1 producers' stream   2… hash of each entry's event
-- ARGV  1 group   2 consumer   3… for each entry: its id, and the destination that is done
-- Returns, for each entry, 1; 0 when it is not this consumer's any more.
local stream, group, consumer = KEYS[1], ARGV[1], ARGV[2]
local marked = {}
for i = 2, #KEYS do
  local event, entry, destination = KEYS[i], ARGV[2 * i - 1], ARGV[2 * i]
  if #redis.call('XPENDING', stream, group, entry, entry, 1, consumer) == 0 then
    marked[i - 1] = 0
  else
    redis.call('HDEL', event, '')
    redis.call('HSETNX', event, 'live', 1)
    redis.call('HSET', event, 'done:' .. destination, 1)
    marked[i - 1] = 1
  end
end
return marked
