-- Hands out again an entry that a worker has pending already: the reply that brought it was lost.
--
-- KEYS  1 stream the entry was read from
-- ARGV  1 group   2 consumer   3 entry id
-- Returns {{id, {field, value, …}}}; empty when the entry is not this consumer's (any more) or was deleted.
--
-- XCLAIM alone would take it from whoever has it.
local pending = redis.call('XPENDING', KEYS[1], ARGV[1], ARGV[3], ARGV[3], 1, ARGV[2])
if #pending == 0 then return {} end
return redis.call('XCLAIM', KEYS[1], ARGV[1], ARGV[2], 0, ARGV[3], 'RETRYCOUNT', pending[1][4])
