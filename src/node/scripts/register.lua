-- Registers a client in the queue of a lock, or keeps its entry there, and checks the lock in the same step, so that no
-- release is missed. If the lock is free, it is the turn of the first client in the queue: the caller learns this from
-- the reply, another client is notified.
--
-- KEYS[1]  the lock
-- KEYS[2]  its queue
-- KEYS[i]  the slots of a semaphore; none for another lock
-- ARGV[1]  the client's channel
-- ARGV[2]  the client's present ticket; empty to get a new one
-- ARGV[3]  `eager`; or `patient` after an attempt that failed although the lock was free here: then no client is
--          notified; or `behind` if others were before the caller the last time: then, as long as they are and the lock is
--          held, nothing is done but that the queue is kept
-- ARGV[4]  for how long a notified client is expected, in milliseconds
-- ARGV[5]  for how long the queue is kept at least, in milliseconds
-- ARGV[6]  for a reader, the key that exists while a writer waits: the lock is free for it while others read
-- Returns  {wait, ticket, key, ahead}. key is the lock; of a semaphore a free slot, or the one that expires first. ahead is
--          how many clients wait before the caller, where it has to wait. wait is
--          0   if it is the caller's turn
--          -1  if the lock is held and does not expire
--          -2  if the lock is free, but the caller is patient
--          otherwise for how long, in milliseconds, another client has the lock or is expected to take it
local queue, me = KEYS[2], ARGV[1]
local ticket = ARGV[2]
if ARGV[3] == 'behind' then
  local before = redis.pcall('ZRANK', queue, me)
  if type(before) == 'number' and before > 0 then
    local ttl, key = held_for(KEYS[1])
    if ttl ~= -2 then
      -- Those before the caller may be dead. Each of the next ones looks more often than the queue ends.
      if before <= 3 then
        redis.pcall('PEXPIRE', queue, ARGV[5])
      end
      return { ttl == 0 and 1 or ttl, ticket, key, before }
    end
  end
end
-- While a writer waits, a reader goes to the end of the queue: in front of the writer it would be called in vain.
local writer_waits_for = ARGV[6] and redis.pcall('PTTL', ARGV[6]) or -2
if type(writer_waits_for) ~= 'number' then
  writer_waits_for = -2
end
if ticket == '' or writer_waits_for > 0 then
  ticket = new_ticket(queue)
end
local kept = redis.call('PTTL', queue)
local keep = string.format('%.0f', math.max(kept, tonumber(ARGV[5])))
-- Before the write: where PEXPIRE is not permitted any more, nothing is left that never expires. Always, because a server
-- whose memory is full lets a script write that has written before.
redis.call('PEXPIRE', queue, keep)
redis.call('ZADD', queue, ticket, me)
if kept == -2 then
  redis.call('PEXPIRE', queue, keep)
end
local ttl, key = held_for(KEYS[1])
if ttl == -2 and writer_waits_for > 0 then
  -- Perhaps the caller was notified in the writer's place.
  if expected_for(queue, tonumber(ARGV[4])) == 0 then
    if call_next(queue, key, me) == me then
      -- The writer waits elsewhere. The caller is not to be taken for one who is about to take the lock.
      redis.call('ZADD', queue, ticket, me)
    end
  end
  return { writer_waits_for, ticket, key, 0 }
end
if ttl ~= -2 and ARGV[6] and is_readable(KEYS[1], ARGV[6]) then
  return { ARGV[3] == 'patient' and -2 or 0, ticket, key, 0 }
end
-- Clients that were notified are not counted: they are about to take the lock, and leave the queue then.
local ahead = redis.pcall('ZCOUNT', queue, '0', '(' .. ticket)
if type(ahead) ~= 'number' then
  ahead = 0
end
if ttl ~= -2 then
  return { ttl == 0 and 1 or ttl, ticket, key, ahead }
end
if ARGV[3] == 'patient' then
  return { -2, ticket, key, ahead }
end
local grace = tonumber(ARGV[4])
local wait = expected_for(queue, grace)
if wait == 0 then
  local called = call_next(queue, key, me)
  if called == nil then
    -- PUBLISH is not permitted. Then it is the turn of the caller.
    mark_called(queue, me)
    called = me
  end
  wait = called == me and 0 or grace
end
return { wait, ticket, key, ahead }
