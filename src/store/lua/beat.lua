-- A worker's heartbeat; tells it which others have stopped beating.
--
-- KEYS  1 ZSET of workers: the time of the last beat in Unix ms; 1 once it is being taken over, 0 once it has left
-- ARGV  1 this worker   2 ms without a heartbeat after which a worker counts as dead   3 "1" on its first beat
-- Returns {1, ms until the next worker counts as dead or -1, how many are alive, dead worker, …}, or {0} when this worker has been taken
-- for dead (or Redis lost its data): it must take a new name before it reads again.
--
-- Nobody is told dead by a worker whose own last beat is as old: then it was Redis that stood still, or its clock
-- jumped. A beat from the future (the clock was set back) counts as one from now.
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local mine = tonumber(redis.call('ZSCORE', KEYS[1], ARGV[1]) or -1)
if ARGV[3] ~= '1' and mine <= 1 then return {0} end
-- Redis refuses a script that begins with ZADD at maxmemory, but not one whose first write frees (or would).
redis.call('ZREM', KEYS[1], '')
redis.call('ZADD', KEYS[1], now, ARGV[1])
local ahead = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. now, '+inf', 'LIMIT', 0, 100)
for i = 1, #ahead do redis.call('ZADD', KEYS[1], now, ahead[i]) end
if ARGV[3] ~= '1' and now - mine > tonumber(ARGV[2]) then return {1, -1, 1} end
local dead = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2], 'LIMIT', 0, 100)
local live = redis.call('ZRANGEBYSCORE', KEYS[1], '(' .. (now - ARGV[2]), '+inf', 'WITHSCORES', 'LIMIT', 0, 2)
local alive = redis.call('ZCOUNT', KEYS[1], '(' .. (now - ARGV[2]), '+inf')
local oldest = live[2]
if live[1] == ARGV[1] then oldest = live[4] end
return {1, oldest and math.max(0, oldest + ARGV[2] - now) or -1, alive, unpack(dead)}
