-- Takes a client into the queue of a lock, or keeps it there, and looks at the lock in the same step, so that no release
-- is missed. Where the lock is free it is the turn of the first in the queue: the caller is told so, another one called.
--
-- KEYS[1]  the lock
-- KEYS[2]  its queue
-- ARGV[1]  the client's channel
-- ARGV[2]  the ticket that it has had so far; empty for a new one
-- ARGV[3]  `eager`, or `patient` after an attempt that was lost although the lock was free here: calls nobody
-- ARGV[4]  for how long a waiter that was called is expected, in milliseconds
-- ARGV[5]  for how long the queue is kept at least, in milliseconds
-- Returns  {wait, ticket}: the caller's turn if wait is 0; -1 the lock is there and does not expire; -2 it is free, but
--          the caller is patient; else how long, in milliseconds, it is kept from the caller as far as is known
local queue, me = KEYS[2], ARGV[1]
local ticket = ARGV[2]
if ticket == '' then
  ticket = new_ticket(queue)
end
redis.call('ZADD', queue, ticket, me)
if redis.call('PTTL', queue) < tonumber(ARGV[5]) then
  redis.call('PEXPIRE', queue, ARGV[5])
end
local ttl = redis.call('PTTL', KEYS[1])
if ttl ~= -2 then
  return { ttl == 0 and 1 or ttl, ticket }
end
if ARGV[3] == 'patient' then
  return { -2, ticket }
end
local grace = tonumber(ARGV[4])
local wait = expected_for(queue, grace)
if wait == 0 then
  local called = call_next(queue, KEYS[1], me)
  if called == nil then
    -- Messages are forbidden. Then it is the turn of whoever asks.
    mark_called(queue, me)
    called = me
  end
  wait = called == me and 0 or grace
end
return { wait, ticket }
