-- Writes a node's record, unless another client has changed the record since it was read.
--
-- The record is a hash:
--   id              a random name of the node, given by the first client
--   sequence        the number of changes of the record
--   run             the latest observed server process (run_id)
--   past            the processes before `run`, each with the last sequence of its time
--   replication_id  the present replication id of the server
--   durable         1 if the present process was observed to keep every write
--   made            when the record was made; all times are the node's own, in microseconds since 1970
--   whole           since when the memory of locks is unbroken
--   broken_by       what broke the memory at that time: made, restarted, promoted, rolled back
--   declared        1 if an operator has declared that nobody held a lock on the node when its memory began
--   evicted_keys    how many keys the present process has evicted
--   evicted         when `evicted_keys` was last observed to have grown
--   ttl:MS          a longest lease that clients announced: time of the first and of the last announcement
--   list:Q of IDS   a quorum and the nodes that clients use: first and last use, and "left" if a client has stopped
--                   using the list. A change of lists is "Q of IDS > Q of IDS", and has the mark "closed" when the first
--                   list may not be used alone any more on this node, and "done" when the second one may
--   met:ID          another node that clients use: time of its first announcement, and the latest change of that node's
--                   record (run:sequence)
--   clock:ID        how far the node's clock was ahead of another node's: when, at least, and at most
--   stepped         until when a step of the node's clock endangers leases; no field once that is over
--
-- KEYS[1]  the record
-- ARGV[1]  the id that was read; empty if there was none
-- ARGV[2]  the sequence that was read; empty if there was none
-- ARGV[3]  how many fields are removed
-- ARGV     after ARGV[3]: the names of the removed fields, then names and values of the written fields
-- Returns  1, or 0 if the record has changed
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
