-- Writes down which nodes and quorum a client uses, unless others use different ones.
--
-- KEYS[1]  the node's record
-- ARGV[1]  what the client used until now; empty at first
-- ARGV[2]  what it uses from now on
-- Returns  what the record says afterwards
local known = redis.call('HGET', KEYS[1], 'members')
if not known or known == ARGV[1] then
  redis.call('HSET', KEYS[1], 'members', ARGV[2])
  return ARGV[2]
end
return known
