-- Removes a client from the queue of a lock. If the lock is free, notifies the next client, because the one that leaves
-- may have been notified. If the lock is held, tells the next client when it has become the first to wait.
--
-- KEYS[1]  the lock
-- KEYS[2]  its queue
-- KEYS[i]  the slots of a semaphore; none for another lock
-- ARGV[1]  the client's channel; empty for a client that is not in the queue
-- ARGV[2]  for how long a notified client is expected, in milliseconds
-- ARGV[3]  for a client that has become a reader, the key that exists while a writer waits: the next client is notified
--          while others read, because it may be a reader, too
-- Returns  1 if a client was notified, else 0
local queue, was_first = KEYS[2], false
if ARGV[1] ~= '' then
  was_first = first_of(queue) == ARGV[1]
  redis.pcall('ZREM', queue, ARGV[1])
end
-- PTTL, because a lock may be of any type.
local ttl, free = held_for(KEYS[1])
local is_free = ttl == -2 or ARGV[3] and is_readable(KEYS[1], ARGV[3])
if not is_free or expected_for(queue, tonumber(ARGV[2])) > 0 then
  local first = was_first and first_of(queue)
  if first then
    tell_first(first, free)
  end
  return 0
end
return call_next(queue, free) and 1 or 0
