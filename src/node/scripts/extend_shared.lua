-- Extends the time of readers that are still there. Never shortens it, never adds a reader. A writer's key with the
-- reader's token becomes a reader's: the writer has become a reader since (a downgrade).
--
-- KEYS[i]      a lock; acquire_shared.lua describes its readers
-- ARGV[2i-1]   the reader's token
-- ARGV[2i]     time to live from now, in milliseconds
-- Returns      a string with one digit for each lock. 1: the reader stays at least this time. 0: there is no such reader
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local answers = {}
for i, key in ipairs(KEYS) do
  local token, ttl = ARGV[2 * i - 1], tonumber(ARGV[2 * i])
  answers[i] = '0'
  if redis.pcall('GET', key) == token then
    local left = math.max(redis.call('PTTL', key), ttl)
    -- Before the write: where PEXPIRE is not permitted any more, nothing is left that never expires.
    redis.call('PEXPIRE', key, string.format('%.0f', left))
    redis.call('DEL', key)
    redis.call('ZADD', key, string.format('%.0f', now + left + 1), token)
    redis.call('PEXPIRE', key, string.format('%.0f', left))
    answers[i] = '1'
  else
    -- An error on another type is a table.
    local score = redis.pcall('ZSCORE', key, token)
    if type(score) == 'string' and tonumber(score) > now then
      redis.call('ZADD', key, 'XX', 'GT', string.format('%.0f', now + ttl + 1), token)
      if redis.call('PTTL', key) < ttl then
        redis.call('PEXPIRE', key, ttl)
      end
      answers[i] = '1'
    end
  end
end
return table.concat(answers)
