-- Lets locks live on whose owner the caller still is. Never shortens, never creates, never deletes.
--
-- KEYS[i]      a lock
-- ARGV[2i-1]   the owner's token
-- ARGV[2i]     time to live from now, in milliseconds
-- Returns      a string with one digit for each lock: 1 it lives at least that long; 0 not ours: absent, another
--              owner's, or of another type
--
-- pcall: GET on another type is an error, which is not equal to any token.
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
