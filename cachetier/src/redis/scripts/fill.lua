-- Swaps what begins with ARGV[1] in KEYS[1], kind and stamp of a ticket or of an older value, for the value ARGV[2], for ARGV[3] ms, and tells
-- who waits. Returns 1 if the value stands there, the same fill having come twice included.
-- Without `allow-oom`: a full server keeps no new values. Only kind and stamp are compared: mailboxes may stand behind a ticket's.
local head = redis.call('GETRANGE', KEYS[1], '0', '1040')
local seen, held, channels = string.sub(head, 1, 17), ARGV[2], ARGV[4]
if seen ~= ARGV[1] then
  return seen == string.sub(held, 1, 17) and 1 or 0
end
redis.call('SET', KEYS[1], held, 'PX', ARGV[3])
