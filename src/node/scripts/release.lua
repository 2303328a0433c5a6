-- Removes the lock if the caller still owns it. Whenever it is absent afterwards, calls the first who waits for it.
--
-- KEYS[1]  the lock
-- ARGV[1]  the owner's token
-- ARGV[2]  the lock's queue; empty to call nobody. Not among the keys: who may not touch it may still release.
-- ARGV[3]  for how long a waiter that was called is expected, in milliseconds
-- Returns  1 removed; 0 not ours: absent, another owner's, or of another type. 2 more if a waiter was called
--
-- pcall: GET on another type is an error, which is not equal to any token.
local value, removed = redis.pcall('GET', KEYS[1]), 0
if value == ARGV[1] then
  removed = redis.call('DEL', KEYS[1])
elseif value then
  return 0
end
local queue = ARGV[2]
if queue == '' then
  return removed
end
local first = redis.pcall('ZRANGE', queue, '0', '0', 'WITHSCORES')
if not first[1] then
  return removed
end
-- A lock that was there had been taken by whoever was called before. One that was not may still be about to be taken.
if removed == 0 and expected_for(queue, tonumber(ARGV[3])) > 0 then
  return 0
end
return call_next(queue, KEYS[1]) and removed + 2 or removed
