-- Notes that an entry is about to be attempted alone: should its holder die now, it was this entry.
--
-- KEYS  1 stream the entry was read from
-- ARGV  1 group   2 consumer   3 entry id   4 what the number of times it was handed out is raised by
-- Returns 1; 0 when the entry is not this consumer's any more.
local pending = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[3], ARGV[3], 1, ARGV[2])
if #pending == 0 then return 0 end
local times, raised = pending[1][4], tonumber(ARGV[4])
if times < raised then
  redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[3], 'RETRYCOUNT', times + raised, 'JUSTID')
end
return 1
