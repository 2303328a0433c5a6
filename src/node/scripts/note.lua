-- Writes a node's record down, unless another client has changed it since it was read.
--
-- The record is a hash:
--   version         a random number, another one with each change
--   id              the node's own name, random, from the first client
--   runs            the server processes (run_id) that clients met, the present one first
--   replication_id  the present one
--   durable         1 where the present process was seen to keep every write
--   made            when the record was made; all times are the node's own, in microseconds since 1970
--   whole           since when the memory of locks is unbroken
--   broken_by       what broke it then: made, restarted, promoted, rolled back
--   declared        1 where an operator has said that nobody held a lock on the node when its memory began
--   evicted_keys    how many keys the present process has evicted
--   evicted         when that number was last seen to have grown
--   ttl:MS          a longest lease that clients announced: when first and when last
--   list:Q of IDS   a quorum and the nodes that clients use: since when, when last, and "left" where a client has left it
--   met:ID          another node that clients use: when they first told of it, and its server processes
--
-- KEYS[1]  the record
-- ARGV[1]  the version that was read; empty where there was none
-- ARGV[2]  the version that is written
-- ARGV[3]  how many fields are removed; they follow
-- ARGV     behind them, names and values of the fields that are written
-- Returns  1, or 0 where the record has changed
local record, first = KEYS[1], 4 + ARGV[3]
if (redis.call('HGET', record, 'version') or '') ~= ARGV[1] then
  return 0
end
for i = 4, first - 1 do
  redis.call('HDEL', record, ARGV[i])
end
for i = first, #ARGV, 2 do
  redis.call('HSET', record, ARGV[i], ARGV[i + 1])
end
redis.call('HSET', record, 'version', ARGV[2])
return 1
