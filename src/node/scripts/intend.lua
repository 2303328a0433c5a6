-- Announces that a writer waits for a lock, so that new readers are kept out. The key is a hash with a field for each
-- wait: a writer whose wait ends removes its own field, and readers are kept out until the last has. The value is the
-- time until which the node keeps the field, in milliseconds since 1970: the field of a writer that has died must not
-- live on with the others, which prolong the key.
--
-- KEYS[1]  the key that exists while a writer waits
-- ARGV[1]  the token of the wait
-- ARGV[2]  for how long readers are kept out, in milliseconds
-- Returns  1
local key, lasts = KEYS[1], tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- Before the write, too: where PEXPIRE is not permitted any more, nothing is left that never expires.
redis.call('PEXPIRE', key, lasts)
local waits = redis.call('HGETALL', key)
for i = 1, #waits, 2 do
  local left = (tonumber(waits[i + 1]) or 0) - now
  -- More is left than any writer asks for if the clock was set back.
  if left <= 0 or left > lasts then
    redis.call('HDEL', key, waits[i])
  end
end
redis.call('HSET', key, ARGV[1], string.format('%.0f', now + lasts))
redis.call('PEXPIRE', key, lasts)
return 1
