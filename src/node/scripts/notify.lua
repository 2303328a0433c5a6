-- Functions for the scripts that handle waiters. The library puts this file in front of these scripts.
--
-- The queue of a lock is a sorted set with one member for each waiting client: the client's channel. The score is the
-- client's ticket, the time of its first registration in microseconds. The score of a notified client is minus the time
-- of the notification, until the client registers again, leaves, or the lock is released. Every command is a pcall, so
-- that an error here never changes what happens to a lock.

-- How many clients that are gone one script removes at most.
local CALLS_MAX = 100
-- Above 2^53, in the year 2255, a score cannot distinguish one microsecond from the next.
local LAST_TICKET = 9007199254740991

-- Returns microseconds since 1970 by the node's clock; 0 if TIME is not permitted.
local function micros()
  local time = redis.pcall('TIME')
  return time.err and 0 or time[1] * 1000000 + time[2]
end

-- Returns for how many more milliseconds a notified client is expected: a client that was notified within the last
-- `grace` milliseconds may be about to take the lock. Returns 0 if there is no such client. A notification in the
-- future was made before the node's clock was set back; its age is unknown, so the notification counts as over.
local function expected_for(queue, grace)
  local called = redis.pcall('ZRANGEBYSCORE', queue, '-inf', '(0', 'WITHSCORES', 'LIMIT', '0', '1')
  if not called[2] then
    return 0
  end
  local since = math.floor((micros() + (tonumber(called[2]) or 0)) / 1000)
  if since < 0 or since > grace then
    return 0
  end
  return grace - since
end

-- Returns a ticket for a client that registers now. The ticket is never before the last one in the queue, because
-- otherwise new clients would overtake the waiting ones after the clock was set back.
local function new_ticket(queue)
  local last = redis.pcall('ZREVRANGE', queue, '0', '0', 'WITHSCORES')
  local after = math.max(tonumber(last[2]) or 0, 0) + 1
  if after > LAST_TICKET then
    after = 0
  end
  return string.format('%.0f', math.max(micros(), after))
end

-- Returns for how long a lock is held, as PTTL does, and a key that says so. A semaphore, whose slots are KEYS[3] and the
-- following, is free if a slot is, and held until the first of them expires.
local function held_for(lock)
  local first, of = redis.call('PTTL', KEYS[3] or lock), KEYS[3] or lock
  for i = 4, #KEYS do
    local ttl = redis.call('PTTL', KEYS[i])
    if first ~= -2 and (ttl == -2 or ttl >= 0 and (first == -1 or ttl < first)) then
      first, of = ttl, KEYS[i]
    end
  end
  return first, of
end

-- Returns whether readers have the lock and no writer waits, so that another reader can have it as well. `intent` is the
-- key that exists while a writer waits.
local function is_readable(lock, intent)
  local first = redis.pcall('ZRANGEBYSCORE', lock, '-inf', '+inf', 'LIMIT', '0', '1')
  return first[1] and redis.pcall('PTTL', lock) ~= -1 and redis.pcall('EXISTS', intent) ~= 1
end

-- Marks a client as notified now.
local function mark_called(queue, channel)
  -- At least 1, because a score of 0 would be a ticket, and the earliest one.
  redis.pcall('ZADD', queue, 'XX', string.format('-%.0f', math.max(micros(), 1)), channel)
end

-- Returns the channel of the first client that waits and was not notified; nil if there is none.
local function first_of(queue)
  return redis.pcall('ZRANGEBYSCORE', queue, '0', '+inf', 'LIMIT', '0', '1')[1]
end

-- Tells a client that it is the first of those that wait. The newline is in no name of a lock.
local function tell_first(channel, resource)
  redis.pcall('PUBLISH', channel, '\n' .. resource)
end

-- Notifies the first client that is subscribed, `me` without a message, and removes clients that are not subscribed. The
-- next client is the first to wait from then on, and is told so. Returns the notified client's channel; nil if no client
-- can be notified.
local function call_next(queue, resource, me)
  redis.pcall('ZREMRANGEBYSCORE', queue, '-inf', '(0')
  for _ = 1, CALLS_MAX do
    local first = redis.pcall('ZRANGEBYSCORE', queue, '0', '+inf', 'LIMIT', '0', '2')
    local channel = first[1]
    if not channel then
      return nil
    end
    local heard = channel == me and 1 or redis.pcall('PUBLISH', channel, resource)
    if type(heard) ~= 'number' then
      return nil
    end
    if heard > 0 then
      mark_called(queue, channel)
      if first[2] then
        tell_first(first[2], resource)
      end
      return channel
    end
    redis.pcall('ZREM', queue, channel)
  end
  return nil
end

