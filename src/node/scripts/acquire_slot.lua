-- Sets one slot of a semaphore, unless the slot belongs to somebody else or the semaphore has another number of slots. A
-- slot that the caller owns already is kept, and its TTL is not shortened: the caller sets its slot again on a node that
-- may have lost it.
--
-- KEYS[1]    the semaphore: the number of its slots, kept for as long as the last slot
-- KEYS[1+i]  slot number i
-- ARGV[1]    the caller's token
-- ARGV[2]    time to live, in milliseconds
-- ARGV[3]    the number of the slot to set, from 1
-- Returns    1 if the slot is the caller's now; else a string with one digit for each slot, 1 if it is free; or minus the
--            number of slots, if it is another one (0 for a value that is no number)
local semaphore, token, ttl, slots = KEYS[1], ARGV[1], tonumber(ARGV[2]), #KEYS - 1
local known = redis.call('GET', semaphore)
if known and tonumber(known) ~= slots then
  return -(tonumber(known) or 0)
end
local slot = KEYS[1 + ARGV[3]]
-- pcall, because GET on another type is an error; the error is not equal to any token.
local owner = redis.pcall('GET', slot)
if owner and owner ~= token then
  local free = {}
  for i = 1, slots do
    free[i] = 1 - redis.call('EXISTS', KEYS[1 + i])
  end
  return table.concat(free)
end
-- The slot first: the semaphore must not expire before it.
if not owner then
  redis.call('SET', slot, token, 'PX', ARGV[2])
else
  redis.call('PEXPIRE', slot, string.format('%.0f', math.max(redis.call('PTTL', slot), ttl)))
end
if not known then
  redis.call('SET', semaphore, slots, 'PX', ARGV[2])
elseif redis.call('PTTL', semaphore) < ttl then
  redis.call('PEXPIRE', semaphore, ARGV[2])
end
return 1
