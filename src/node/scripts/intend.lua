-- Announces that a writer waits for a lock, so that new readers are kept out. The key is a hash with a field for each
-- wait: a writer whose wait ends removes its own field, and readers are kept out until the last has. The fields of
-- writers that have died go with the key.
--
-- KEYS[1]  the key that exists while a writer waits
-- ARGV[1]  the token of the wait
-- ARGV[2]  for how long readers are kept out, in milliseconds
-- Returns  1

-- Waits that a node remembers. Writers that still wait announce themselves again.
local WAITS_MAX = 256
if #redis.call('HGETALL', KEYS[1]) >= 2 * WAITS_MAX then
  redis.call('DEL', KEYS[1])
end
-- Before the write, too: where PEXPIRE is not permitted any more, nothing is left that never expires.
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('HSET', KEYS[1], ARGV[1], 1)
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
