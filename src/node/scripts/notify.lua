-- Stands in the scripts that know of waiters, before what they do with them.
--
-- A queue is a sorted set: the channel of each client that waits for the lock, by ticket, the time at which it came in
-- microseconds. A client that was called has a negative score, minus the time of the call, until it registers again,
-- leaves, or the lock is released. All is done by pcall: what goes wrong here never changes what happens to a lock.

-- How many clients that are gone one script drops.
local CALLS_MAX = 100
-- Beyond this a score cannot tell one microsecond from the next: 2^53, in the year 2255.
local LAST_TICKET = 9007199254740991

-- Microseconds since 1970 by the node's clock, 0 where it must not be asked.
local function micros()
  local time = redis.pcall('TIME')
  return time.err and 0 or time[1] * 1000000 + time[2]
end

-- Whether somebody was called so lately, within `grace` milliseconds, that he may be about to come: for how many
-- milliseconds more, `grace` at most; 0 if not. A call of the future is from before the clock was set back, and how long
-- ago that was is not known: it counts as over.
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

-- A ticket for somebody who comes now. Not before the last in the queue, also when the clock was set back: those who wait
-- would stand behind all who come until it has made up for that.
local function new_ticket(queue)
  local last = redis.pcall('ZREVRANGE', queue, '0', '0', 'WITHSCORES')
  local after = math.max(tonumber(last[2]) or 0, 0) + 1
  if after > LAST_TICKET then
    after = 0
  end
  return string.format('%.0f', math.max(micros(), after))
end

local function mark_called(queue, channel)
  -- At least 1: minus nothing would be the ticket of whoever comes first.
  redis.pcall('ZADD', queue, 'XX', string.format('-%.0f', math.max(micros(), 1)), channel)
end

-- Calls the first who hears it, `me` without a message. Answers his channel; nil where nobody can be called.
local function call_next(queue, resource, me)
  redis.pcall('ZREMRANGEBYSCORE', queue, '-inf', '(0')
  for _ = 1, CALLS_MAX do
    local channel = redis.pcall('ZRANGEBYSCORE', queue, '0', '+inf', 'LIMIT', '0', '1')[1]
    if not channel then
      return nil
    end
    local heard = channel == me and 1 or redis.pcall('PUBLISH', channel, resource)
    if type(heard) ~= 'number' then
      return nil
    end
    if heard > 0 then
      mark_called(queue, channel)
      return channel
    end
    redis.pcall('ZREM', queue, channel)
  end
  return nil
end

