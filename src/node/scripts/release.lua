-- Removes the lock if the caller still owns it.
--
-- KEYS[1]  the lock
-- ARGV[1]  the owner's token
-- Returns  1 removed; 0 not ours: absent, another owner's, or of another type
--
-- pcall: GET on another type is an error, which is not equal to any token.
if redis.pcall('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
return redis.call('DEL', KEYS[1])
