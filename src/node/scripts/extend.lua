-- Extends the TTL of locks that the caller still owns. Never shortens a TTL, never creates or deletes a key.
--
-- KEYS[i]      a lock
-- ARGV[2i-1]   the owner's token
-- ARGV[2i]     time to live from now, in milliseconds
-- Returns      a string with one digit for each lock. 1: the lock lives at least this time. 0: the lock is not the
--              caller's: absent, another owner's, or of another type
--
-- pcall, because GET on another type is an error; the error is not equal to any token.
local answers = {}
for i, key in ipairs(KEYS) do
  local ttl = ARGV[2 * i]
  if redis.pcall('GET', key) ~= ARGV[2 * i - 1] then
    answers[i] = '0'
  else
    if redis.call('PTTL', key) < tonumber(ttl) then
      redis.call('PEXPIRE', key, ttl)
    end
    answers[i] = '1'
  end
end
return table.concat(answers)
