-- Makes the value in KEYS[3] stale, under the stamp ARGV[4] and without the lease that it may have, and bumps the lane: it stays for who brings
-- something newer. A hold stays, and is marked; whatever else is there goes. Counts 1 if it was a value.
local done, head = 0, redis.pcall('GETRANGE', KEYS[3], '0', '17')
if type(head) ~= 'string' then
  call('DEL', KEYS[3])
elseif string.sub(head, 1, 1) == HOLD then
  call('SETRANGE', KEYS[3], '1', '\1')
elseif string.sub(head, 1, 1) == '\246' and string.sub(head, 18) == '\1' and call('STRLEN', KEYS[3]) >= 64 then
  call('SETRANGE', KEYS[3], '1', ARGV[4])
  call('SETRANGE', KEYS[3], '21', '\1')
  call('SETRANGE', KEYS[3], '36', '\0\0\0\0')
  done = 1
else
  call('DEL', KEYS[3])
end
