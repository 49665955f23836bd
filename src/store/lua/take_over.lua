-- Takes over pending entries of a dead worker; removes it once it has none.
--
-- KEYS  1 ZSET of workers   2 producers' stream   3 ready stream
-- ARGV  1 group   2 dead worker   3 this worker   4 ms without a heartbeat after which a worker counts as dead
--       5 how many entries at most   6 bytes of payload after which no further one is taken
-- Returns {{{id, {field, value, …}, times taken over before}, …} of KEYS[2], the same of KEYS[3]}; both empty when
-- there was nothing left, or the worker is alive after all.
local group, dead, me = ARGV[1], ARGV[2], ARGV[3]
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local beat = redis.call('ZSCORE', KEYS[1], dead)
if beat and tonumber(beat) > now - ARGV[4] then return {{}, {}} end

local taken = {{}, {}}
local room, bytes, left = tonumber(ARGV[5]), 0, false
for s = 2, 3 do
  local pending = redis.call('XPENDING', KEYS[s], group, '-', '+', ARGV[5], dead)
  for i = 1, #pending do
    if room <= 0 or bytes > tonumber(ARGV[6]) then
      left = true
      break
    end
    local claimed = redis.call('XCLAIM', KEYS[s], group, me, 0, pending[i][1])
    if claimed[1] then
      -- From here on it is dead for good: should it beat before all is taken, it must learn that some is another's.
      redis.call('ZADD', KEYS[1], -1, dead)
      local fields = claimed[1][2]
      for j = 1, #fields do bytes = bytes + #fields[j] end
      room = room - 1
      table.insert(taken[s - 1], {claimed[1][1], fields, pending[i][4] - 1})
    end
  end
  if #pending > 0 then left = true end
end
if not left then
  redis.call('XGROUP', 'DELCONSUMER', KEYS[2], group, dead)
  redis.call('XGROUP', 'DELCONSUMER', KEYS[3], group, dead)
  redis.call('ZREM', KEYS[1], dead)
end
return taken
