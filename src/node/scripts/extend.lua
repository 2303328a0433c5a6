-- Lets the lock live on if the caller still owns it. Never shortens, never creates, never deletes.
--
-- KEYS[1]  the lock
-- ARGV[1]  the owner's token
-- ARGV[2]  time to live from now, in milliseconds
-- Returns  1 it lives at least that long; 0 not ours: absent, another owner's, or of another type
--
-- pcall: GET on another type is an error, which is not equal to any token.
if redis.pcall('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[2]) then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 1
