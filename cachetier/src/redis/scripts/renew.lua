#!lua flags=allow-oom
-- Lets the value stamped ARGV[1] in KEYS[1] live anew as it stands there, for ARGV[4] ms: with the stamp ARGV[2], and with ARGV[3] as the part
-- of its header that may change. Returns 1 if it does, the same renewal having come twice included.
-- The life first: it needs no memory, and a full server before 7.0 then lets the script write on.
local head = redis.call('GETRANGE', KEYS[1], '0', '16')
if head == '\246' .. ARGV[1] then
  redis.call('PEXPIRE', KEYS[1], ARGV[4])
  redis.call('SETRANGE', KEYS[1], '1', ARGV[2])
  redis.call('SETRANGE', KEYS[1], '21', ARGV[3])
  return 1
end
if head == '\246' .. ARGV[2] then
  return 1
end
return 0
