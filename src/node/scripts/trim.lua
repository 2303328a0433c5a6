-- Removes old fencing tokens: tokens of resources that nobody has locked for the retention time. Tokens are wall clock
-- times in microseconds.
--
-- KEYS[1]  the sorted set of the highest token of each resource
-- ARGV[1]  the client's wall clock, in microseconds since 1970
-- ARGV[2]  for how long a token is kept, in microseconds
-- ARGV[3]  by how much the node's clock may differ from the client's, in microseconds; with a larger difference nothing
--          is removed
-- ARGV[4]  how many tokens are removed at most
-- Returns  how many tokens were removed
local client, retention, skew = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local node = time[1] * 1000000 + time[2]
if math.abs(node - client) > skew then
  return 0
end
-- The earlier of the two clocks counts, so that a clock that is ahead never removes a token early.
local cutoff = string.format('(%.0f', math.min(node, client) - retention)
local old = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', cutoff, 'LIMIT', 0, ARGV[4])
if #old > 0 then
  redis.call('ZREM', KEYS[1], unpack(old))
end
return #old
