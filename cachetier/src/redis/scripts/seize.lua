-- Plants a ticket in KEYS[3] whatever it holds (a hold stays, and is marked) and bumps the lane.
-- ARGV: the caller, channel, body, ticket, lease in ms. Returns era, seq, 1 if planted.
local body, done = ARGV[6], 0
if redis.pcall('GETRANGE', KEYS[3], '0', '0') == HOLD then
  call('SETRANGE', KEYS[3], '1', '\1')
else
  call('SET', KEYS[3], ARGV[7], 'PX', ARGV[8])
  done = 1
end
