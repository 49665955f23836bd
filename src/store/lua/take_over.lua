-- Takes over pending entries of a dead worker; removes it once it has none.
--
-- KEYS  1 ZSET of workers   2 producers' stream   3 ready stream
-- ARGV  1 group   2 dead worker   3 this worker   4 ms without a heartbeat after which a worker counts as dead
--       5 how many entries at most   6 bytes of payload after which no further one is taken
-- Returns {{{id, {field, value, …}, times taken over from a crash}, …} of KEYS[2], the same of KEYS[3]}; both empty
-- when there was nothing left, or the worker is alive after all.
--
-- From the first entry on the dead worker is fenced (its score is 1): should it beat again, it takes a new name. The
-- times make an entry a suspect, and guilty only once it was attempted alone (see alone.lua). What a worker left behind
-- in order (score 0) does not count, not even that it was attempted alone then.
local group, dead, me = ARGV[1], ARGV[2], ARGV[3]
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local beat = tonumber(redis.call('ZSCORE', KEYS[1], dead) or 0)
if beat > now - ARGV[4] then return {{}, {}} end

local taken = {{}, {}}
local room, bytes, left = tonumber(ARGV[5]), 0, false
for s = 2, 3 do
  local pending = redis.call('XPENDING', KEYS[s], group, '-', '+', ARGV[5], dead)
  if #pending > 0 and not left then
    left = true
    redis.call('ZREM', KEYS[1], '')
    if beat > 1 then redis.call('ZADD', KEYS[1], 1, dead) end
  end
  for i = 1, #pending do
    if room <= 0 or bytes > tonumber(ARGV[6]) then break end
    local times = pending[i][4]
    if beat > 0 then
      times = times + 1
    elseif times >= 1000 then
      times = times - 1000
    end
    local claimed = redis.call('XCLAIM', KEYS[s], group, me, 0, pending[i][1], 'RETRYCOUNT', times)
    if claimed[1] then
      local fields = claimed[1][2]
      for j = 1, #fields do bytes = bytes + #fields[j] end
      room = room - 1
      table.insert(taken[s - 1], {claimed[1][1], fields, times - 1})
    end
  end
end
if not left then
  redis.call('XGROUP', 'DELCONSUMER', KEYS[2], group, dead)
  redis.call('XGROUP', 'DELCONSUMER', KEYS[3], group, dead)
  redis.call('ZREM', KEYS[1], dead)
end
return taken
