#!lua flags=allow-oom
-- Lets the ticket ARGV[1] (its stamp) in KEYS[1] live for another ARGV[2] ms. Returns 1 if it was there.
if redis.call('GETRANGE', KEYS[1], '0', '16') ~= '\245' .. ARGV[1] then
  return 0
end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
