-- Adds a reader to a lock, unless the lock has another kind of owner, or a writer waits for it. A reader that is there
-- already stays, and its time is not shortened: the caller adds its reader again on a node that may have lost it.
--
-- The readers of a lock are a sorted set at the lock's own key: one member for each reader, its token; the score is the
-- time until which the node keeps the reader, in milliseconds since 1970. The key lives as long as its last reader.
--
-- KEYS[1]  the lock
-- ARGV[1]  the caller's token
-- ARGV[2]  time to live, in milliseconds
-- ARGV[3]  the key that exists while a writer waits. Not among the keys, so that its absence is no matter of permissions
-- Returns  1 if the caller is a reader now, else 0
local key, token, ttl = KEYS[1], ARGV[1], tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local left = redis.call('PTTL', key)
-- Readers' keys expire; a key that does not expire is somebody else's set.
if left == -1 then
  return 0
end
if left ~= -2 and type(redis.pcall('ZREMRANGEBYSCORE', key, '-inf', string.format('%.0f', now))) ~= 'number' then
  return 0
end
if not redis.call('ZSCORE', key, token) and redis.pcall('EXISTS', ARGV[3]) == 1 then
  return 0
end
-- Before the write: where PEXPIRE is not permitted any more, nothing is left that never expires.
if left < ttl then
  redis.call('PEXPIRE', key, ttl)
end
redis.call('ZADD', key, 'GT', string.format('%.0f', now + ttl + 1), token)
if redis.call('PTTL', key) < ttl then
  redis.call('PEXPIRE', key, ttl)
end
return 1
