-- Reads dead letters without their payloads, which may be megabytes each.
--
-- KEYS  1 stream of dead letters
-- ARGV  1 "oldest" or "newest" first   2 first id of the range in that order   3 last id   4 how many to look at
--       5 how many bytes of payloads to look at; the letter that reaches that is the last
-- Returns {1 where the range may have more, else 0; {{id, {field, value, …}}, …}}, at least one letter where there is
-- one; in place of payload and entry stand payload_bytes and entry_bytes, their sizes.
--
-- No command leaves a field out: Redis copies every payload for this script. So a few are read at a time, and one by one
-- while they are large, so that no more than these are in memory twice.
local command = ARGV[1] == 'oldest' and 'XRANGE' or 'XREVRANGE'
local from, most, enough = ARGV[2], tonumber(ARGV[4]), tonumber(ARGV[5])
local found, bytes, step = {}, 0, 1
while true do
  step = math.min(step, most - #found)
  local some, before = redis.call(command, KEYS[1], from, ARGV[3], 'COUNT', step), bytes
  for i = 1, #some do
    local fields = some[i][2]
    for j = 1, #fields, 2 do
      if fields[j] == 'payload' or fields[j] == 'entry' then
        bytes = bytes + #fields[j + 1]
        fields[j] = fields[j] .. '_bytes'
        fields[j + 1] = tostring(#fields[j + 1])
      end
    end
    found[#found + 1] = some[i]
  end
  if #some < step then return {0, found} end
  if #found >= most or bytes >= enough then return {1, found} end
  from = '(' .. found[#found][1]
  step = bytes - before <= 65536 * #some and math.min(2 * step, 10) or 1
end
