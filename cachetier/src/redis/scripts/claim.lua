#!lua flags=allow-oom
-- Swaps the value stamped ARGV[1] in KEYS[1] for the ticket ARGV[2], for ARGV[3] ms. Returns 1 if it did.
-- `allow-oom`: the ticket is smaller than what it replaces. Servers before 7.0 ask whether something was deleted first.
if redis.call('GETRANGE', KEYS[1], '0', '16') ~= '\246' .. ARGV[1] then
  return 0
end
redis.call('DEL', KEYS[1])
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
