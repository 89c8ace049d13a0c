#!lua flags=allow-oom
-- Deletes the ticket ARGV[1] (its stamp) from KEYS[1]. Returns 1 if it was there.
if redis.call('GETRANGE', KEYS[1], '0', '16') ~= '\245' .. ARGV[1] then
  return 0
end
return redis.call('DEL', KEYS[1])
