-- Writes a node's record down, unless another client has changed it since it was read.
--
-- The record is a hash:
--   id              the node's own name, random, from the first client
--   sequence        counts the changes of the record
--   run             the server process (run_id) that was met last
--   past            the processes before it, each with the last sequence in it
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
--   met:ID          another node that clients use: when they first told of it, and the latest change of its record (run:sequence)
--
-- KEYS[1]  the record
-- ARGV[1]  the id that was read; empty where there was none
-- ARGV[2]  the sequence that was read; empty where there was none
-- ARGV[3]  how many fields are removed; they follow
-- ARGV     behind them, names and values of the fields that are written
-- Returns  1, or 0 where the record has changed
local record, first = KEYS[1], 4 + ARGV[3]
local known = redis.call('HMGET', record, 'id', 'sequence')
if (known[1] or '') ~= ARGV[1] or (known[2] or '') ~= ARGV[2] then
  return 0
end
for i = 4, first - 1 do
  redis.call('HDEL', record, ARGV[i])
end
for i = first, #ARGV, 2 do
  redis.call('HSET', record, ARGV[i], ARGV[i + 1])
end
return 1
