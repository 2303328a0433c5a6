-- Declares a node new: an operator confirms that nobody holds a lock on the node. The script refuses if it finds
-- evidence to the contrary.
--
-- KEYS[1]  the node's record; scripts/write_record.lua describes its fields
-- ARGV[1]  the prefix of the library's own keys
-- ARGV[2]  how many keys are checked at most; a node with more keys is not new
-- Returns  'declared'
--          'again'  the node was declared before
--          'older'  the memory of the node has been broken since clients first met it
--          'held'   a key may be a lock: the key expires, and is not the library's own, but for the slots of semaphores
--          'large'  the node has too many keys to be checked
local record = KEYS[1]
local known = redis.call('HMGET', record, 'made', 'whole', 'declared', 'sequence')
if known[3] then
  return 'again'
end
if known[1] ~= known[2] then
  return 'older'
end
local cursor, seen = '0', 0
repeat
  local page = redis.call('SCAN', cursor, 'COUNT', 1000)
  cursor = page[1]
  for _, key in ipairs(page[2]) do
    local is_ours = string.sub(key, 1, #ARGV[1]) == ARGV[1]
    local is_slot = string.sub(key, 1, #ARGV[1] + 5) == ARGV[1] .. 'slot:'
    if (not is_ours or is_slot) and redis.call('PTTL', key) > 0 then
      return 'held'
    end
  end
  seen = seen + #page[2]
  if seen > tonumber(ARGV[2]) then
    return 'large'
  end
until cursor == '0'
redis.call('HSET', record, 'declared', 1, 'sequence', (known[4] or 0) + 1)
return 'declared'
