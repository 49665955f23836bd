-- Reads dead letters without their payloads, which may be megabytes each.
--
-- KEYS  1 stream of dead letters
-- ARGV  1 "oldest" or "newest" first   2 first id of the range in that order   3 last id   4 how many to look at
-- Returns {{id, {field, value, …}}, …}; in place of payload and entry stand payload_bytes and entry_bytes, their sizes.
local found
if ARGV[1] == 'oldest' then
  found = redis.call('XRANGE', KEYS[1], ARGV[2], ARGV[3], 'COUNT', ARGV[4])
else
  found = redis.call('XREVRANGE', KEYS[1], ARGV[2], ARGV[3], 'COUNT', ARGV[4])
end
for i = 1, #found do
  local fields = found[i][2]
  for j = 1, #fields, 2 do
    if fields[j] == 'payload' or fields[j] == 'entry' then
      fields[j] = fields[j] .. '_bytes'
      fields[j + 1] = tostring(#fields[j + 1])
    end
  end
end
return found
