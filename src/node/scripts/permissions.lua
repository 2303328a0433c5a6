-- Returns the commands that a held lock needs and that the caller's user may not run. A missing permission is thus
-- reported when a client connects, not when its lock is lost. The script changes nothing, because the key does not
-- exist.
--
-- The client sends this script as a text, never by its hash, and so learns whether EVAL is permitted, too.
--
-- KEYS[1]  a key that never exists
-- Returns  the refused commands, separated by blanks; empty if there are none
local function refuses(reply)
  local said = type(reply) == 'table' and reply.err
  -- The texts until 7.0, and from 7.2 on. Other errors, such as missing memory, do not concern permissions.
  return said and (string.find(said, 'The user executing', 1, true) or string.find(said, 'ACL failure', 1, true))
end

local key, refused = KEYS[1], {}
for _, command in ipairs({ { 'GET', key }, { 'MGET', key }, { 'DEL', key }, { 'PTTL', key }, { 'PEXPIRE', key, 1 } }) do
  if refuses(redis.pcall(unpack(command))) then
    refused[#refused + 1] = command[1]
  end
end
return table.concat(refused, ' ')
