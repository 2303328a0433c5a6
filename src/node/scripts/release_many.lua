
-- Removes locks that the caller still owns. Notifies the first waiting client of each lock that is absent afterwards.
-- If there is nothing to do, three commands suffice for all locks. The library puts notify.lua in front of this file.
--
-- KEYS[i]      a lock; the same lock may occur several times, with different tokens
-- ARGV[1]      for how long a notified client is expected, in milliseconds
-- ARGV[2i]     the owner's token
-- ARGV[2i+1]   the lock's queue; empty to notify nobody. Not among the keys, so that a user without permission for the
--              queue can still release
-- Returns      a string with one digit for each lock: 1 removed; 0 not the caller's. 2 is added if a client was
--              notified
local values = redis.call('MGET', unpack(KEYS))
local answers, ours, absent, queues = {}, {}, {}, {}
for i, key in ipairs(KEYS) do
  answers[i] = 0
  if values[i] == ARGV[2 * i] then
    answers[i] = 1
    ours[#ours + 1] = key
  end
  -- MGET also returns nothing for a key of another type; EXISTS below detects such a key, if a client waits.
  if (answers[i] == 1 or not values[i]) and ARGV[2 * i + 1] ~= '' then
    absent[#absent + 1] = i
    queues[#queues + 1] = ARGV[2 * i + 1]
  end
end
if #ours > 0 then
  redis.call('DEL', unpack(ours))
end
-- Mostly nobody waits, and the script ends here.
local waited_for = #queues > 0 and redis.pcall('EXISTS', unpack(queues))
if type(waited_for) ~= 'number' or waited_for == 0 then
  return table.concat(answers)
end
for _, i in ipairs(absent) do
  local queue = ARGV[2 * i + 1]
  -- If this script removed the lock, an earlier notification was answered: the notified client had taken the lock. If
  -- the lock was absent already, a notified client may still be about to take the lock.
  if redis.pcall('EXISTS', queue) == 1 and redis.pcall('EXISTS', KEYS[i]) == 0
      and (answers[i] == 1 or expected_for(queue, tonumber(ARGV[1])) == 0)
      and call_next(queue, KEYS[i]) then
    answers[i] = answers[i] + 2
  end
end
return table.concat(answers)
