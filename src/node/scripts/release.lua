-- Removes the lock if the caller still owns it. If the lock is absent afterwards, notifies the first waiting client.
--
-- KEYS[1]  the lock
-- ARGV[1]  the owner's token
-- ARGV[2]  for how long a notified client is expected, in milliseconds; absent to notify nobody
-- ARGV[3]  the lock's queue. Not among the keys, so that a user without permission for the queue can still release
-- Returns  1 if the lock was removed; 0 if the lock is not the caller's: absent, another owner's, or of another type.
--          2 is added if a client was notified
--
-- pcall, because GET on another type is an error; the error is not equal to any token.
local value, removed = redis.pcall('GET', KEYS[1]), 0
if value == ARGV[1] then
  removed = redis.call('DEL', KEYS[1])
elseif value then
  return 0
end
-- Mostly nobody waits, and the script ends here.
local queue = ARGV[3]
if not queue or redis.pcall('EXISTS', queue) ~= 1 then
  return removed
end
