-- A worker's heartbeat; tells it which others have stopped beating.
--
-- KEYS  1 ZSET of workers
-- ARGV  1 this worker   2 ms without a heartbeat after which a worker counts as dead   3 "1" on its first beat
-- Returns {1, ms until the next worker counts as dead or -1, dead worker, …}, or {0} when this worker has been reaped (or Redis lost its data): it must take a new
-- name before it reads again.
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local last = redis.call('ZSCORE', KEYS[1], ARGV[1])
-- Below 0: another worker is at taking over what this one holds.
if ARGV[3] ~= '1' and (not last or tonumber(last) < 0) then return {0} end
-- Redis refuses a script that begins with ZADD at maxmemory, but not one whose first write frees (or would).
redis.call('ZREM', KEYS[1], '')
redis.call('ZADD', KEYS[1], now, ARGV[1])
local dead = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2], 'LIMIT', 0, 100)
local live = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. (now - ARGV[2]), '+inf', 'WITHSCORES', 'LIMIT', 0, 2)
local oldest = live[1] == ARGV[1] and live[4] or live[2]
return {1, oldest and math.max(0, oldest + ARGV[2] - now) or -1, unpack(dead)}
