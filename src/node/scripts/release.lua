-- Removes the lock if the caller still owns it. Whenever it is absent afterwards, calls the first who waits for it.
--
-- KEYS[1]  the lock
-- ARGV[1]  the owner's token
-- ARGV[2]  for how long a waiter that was called is expected, in milliseconds; absent to call nobody
-- ARGV[3]  the lock's queue. Not among the keys: who may not touch it may still release
-- Returns  1 removed; 0 not ours: absent, another owner's, or of another type. 2 more if a waiter was called
--
-- pcall: GET on another type is an error, which is not equal to any token.
local value, removed = redis.pcall('GET', KEYS[1]), 0
if value == ARGV[1] then
  removed = redis.call('DEL', KEYS[1])
elseif value then
  return 0
end
-- Nearly always this is the end of it.
local queue = ARGV[3]
if not queue or redis.pcall('EXISTS', queue) ~= 1 then
  return removed
end
