
-- Stands behind notify.lua. Removes locks that the caller still owns, and calls the first who waits for each that is
-- absent afterwards. Where nothing is to be done, three commands do it for all of them.
--
-- KEYS[i]      a lock; the same one may stand there several times, with other tokens
-- ARGV[1]      for how long a waiter that was called is expected, in milliseconds
-- ARGV[2i]     the owner's token
-- ARGV[2i+1]   the lock's queue. Not among the keys: who may not touch it may still release
-- Returns      a string with one digit for each lock: 1 removed; 0 not ours. 2 more if a waiter was called
local values = redis.call('MGET', unpack(KEYS))
local answers, ours, absent, queues = {}, {}, {}, {}
for i, key in ipairs(KEYS) do
  answers[i] = 0
  if values[i] == ARGV[2 * i] then
    answers[i] = 1
    ours[#ours + 1] = key
  end
  -- Nothing, too, where the key is of another type; that is looked at if somebody waits.
  if answers[i] == 1 or not values[i] then
    absent[#absent + 1] = i
    queues[#queues + 1] = ARGV[2 * i + 1]
  end
end
if #ours > 0 then
  redis.call('DEL', unpack(ours))
end
-- Nearly always this is the end of it.
local waited_for = #queues > 0 and redis.pcall('EXISTS', unpack(queues))
if type(waited_for) ~= 'number' or waited_for == 0 then
  return table.concat(answers)
end
for _, i in ipairs(absent) do
  local queue = ARGV[2 * i + 1]
  -- A lock that was there had been taken by whoever was called before. One that was not may still be about to be taken.
  if redis.pcall('EXISTS', queue) == 1 and redis.pcall('EXISTS', KEYS[i]) == 0
      and (answers[i] == 1 or expected_for(queue, tonumber(ARGV[1])) == 0)
      and call_next(queue, KEYS[i]) then
    answers[i] = answers[i] + 2
  end
end
return table.concat(answers)
