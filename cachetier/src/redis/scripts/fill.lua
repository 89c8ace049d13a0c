#!lua
-- Swaps what begins with ARGV[1] in KEYS[1], kind and stamp of a ticket or of an older value, for the value ARGV[2], for ARGV[3] ms.
-- Returns 1 if the value stands there, the same fill having come twice included. Without `allow-oom`: a full server keeps no new values.
-- Only kind and stamp are compared: ids of waiting instances may stand behind a ticket's.
local head = redis.call('GETRANGE', KEYS[1], '0', '16')
if head == ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
  return 1
end
if head == string.sub(ARGV[2], 1, 17) then
  return 1
end
return 0
