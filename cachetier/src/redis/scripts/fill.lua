#!lua
-- Swaps the ticket ARGV[1] (its stamp) in KEYS[1] for the value ARGV[2], for ARGV[3] ms. Returns 1 if the value stands there,
-- the same fill having come twice included. Without `allow-oom`: a full server keeps no new values.
-- Only kind and stamp are compared: ids of waiting instances may stand behind a ticket's.
local head = redis.call('GETRANGE', KEYS[1], '0', '16')
if head == '\245' .. ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
  return 1
end
if head == '\246' .. ARGV[1] then
  return 1
end
return 0
