-- Sets all locks, or none if one of them belongs to somebody else. A lock that the caller owns already is kept, and
-- its TTL is not shortened: the caller sets its locks again on a node that has lost some of them.
--
-- KEYS[i]  a lock
-- ARGV[1]  the caller's token
-- ARGV[2]  time to live, in milliseconds
-- Returns  an empty list if all locks are the caller's now; else the locks that are not, each by its position and its
--          value, which is empty for a key of another type
local token, ttl = ARGV[1], ARGV[2]
local values, taken = redis.call('MGET', unpack(KEYS)), {}
for i, key in ipairs(KEYS) do
  local value = values[i]
  -- MGET also returns nothing for a key of another type.
  if value ~= token and (value or redis.call('EXISTS', key) == 1) then
    taken[#taken + 1] = i
    taken[#taken + 1] = value or ''
  end
end
if #taken > 0 then
  return taken
end
for i, key in ipairs(KEYS) do
  if not values[i] then
    redis.call('SET', key, token, 'PX', ttl)
  else
    redis.call('PEXPIRE', key, string.format('%.0f', math.max(redis.call('PTTL', key), tonumber(ttl))))
  end
end
return taken
