-- Introduces a client to the node, and keeps the node's record.
--
-- The record is a hash:
--   id           the node's own name, random, from the first client
--   creator      the incarnation in which that was
--   declared     1 where an operator has said that the node was new then, and nobody held a lock on it
--   incarnation  the present one: run_id and replication id, which change with a restart and with a promotion
--   since        when a client first saw it, by the node's clock, in microseconds
--   max_ttl      the longest lease that any client may hold, in milliseconds
--   members      the node ids and the quorum that the clients use
--
-- KEYS[1]  the record
-- ARGV[1]  a name for the node if it has none yet
-- ARGV[2]  max_ttl of the client
-- Returns  {id, creator, declared ('1' or ''), incarnation, since, now (in microseconds), max_ttl}
local function info(section, field)
  return string.match(redis.call('INFO', section), field .. ':(%x+)')
end

local record = KEYS[1]
local incarnation = info('server', 'run_id') .. ':' .. info('replication', 'master_replid')
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000000 + time[2])
if redis.call('HSETNX', record, 'id', ARGV[1]) == 1 then
  redis.call('HSET', record, 'creator', incarnation)
end
if redis.call('HGET', record, 'incarnation') ~= incarnation then
  redis.call('HSET', record, 'incarnation', incarnation, 'since', now)
end
if tonumber(redis.call('HGET', record, 'max_ttl') or 0) < tonumber(ARGV[2]) then
  redis.call('HSET', record, 'max_ttl', ARGV[2])
end
local known = redis.call('HMGET', record, 'id', 'creator', 'declared', 'since', 'max_ttl')
return { known[1], known[2], known[3] or '', incarnation, known[4], now, known[5] }
