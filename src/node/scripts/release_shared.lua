
-- Removes readers. Notifies the first waiting client of each lock that is absent afterwards. A writer's key with the
-- reader's token is removed, too: the writer has become a reader, and the node does not know it yet. The library puts
-- notify.lua in front of this file.
--
-- KEYS[i]      a lock; acquire_shared.lua describes its readers
-- ARGV[1]      for how long a notified client is expected, in milliseconds
-- ARGV[2i]     the reader's token
-- ARGV[2i+1]   the lock's queue; empty to notify nobody. Not among the keys, so that a user without permission for the
--              queue can still release
-- Returns      a string with one digit for each lock: 1 removed; 0 there was no such reader. 2 is added if a client was
--              notified
local now = math.floor(micros() / 1000)
local answers = {}
for i, key in ipairs(KEYS) do
  local token, queue, removed = ARGV[2 * i], ARGV[2 * i + 1], 0
  if redis.pcall('GET', key) == token then
    removed = redis.call('DEL', key)
  elseif redis.pcall('ZREM', key, token) == 1 then
    removed = 1
    redis.call('ZREMRANGEBYSCORE', key, '-inf', string.format('%.0f', now))
    -- The key lives as long as the last reader that is left.
    local last = redis.call('ZREVRANGE', key, '0', '0', 'WITHSCORES')[2]
    local left = last and tonumber(last) - now
    if left and left < redis.call('PTTL', key) then
      redis.call('PEXPIRE', key, string.format('%.0f', left))
    end
  end
  if queue ~= '' and redis.pcall('EXISTS', queue) == 1 and redis.call('EXISTS', key) == 0
      and (removed == 1 or expected_for(queue, tonumber(ARGV[1])) == 0)
      and call_next(queue, key) then
    removed = removed + 2
  end
  answers[i] = removed
end
return table.concat(answers)
