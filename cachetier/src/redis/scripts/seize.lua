-- Plants a ticket in KEYS[3] whatever it holds (a hold stays, and is marked) and bumps the lane.
-- ARGV[4..]: ticket, lease in ms. Counts 1 if planted.
local done = 0
if redis.pcall('GETRANGE', KEYS[3], '0', '0') == HOLD then
  call('SETRANGE', KEYS[3], '1', '\1')
else
  call('SET', KEYS[3], ARGV[4], 'PX', ARGV[5])
  done = 1
end
