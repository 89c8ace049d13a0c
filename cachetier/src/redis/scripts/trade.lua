-- Swaps the hold in KEYS[3] for a ticket if its guard has been alone on the key all the time, else takes the guard out of it as a
-- release does; bumps the lane either way.
-- ARGV: the caller, channel, body, the guard's name, ticket, lease in ms. Returns era, seq, 1 if planted.
local done, held = 0, hold(KEYS[3])
if held.own and held.others == '' and not held.touched then
  call('SET', KEYS[3], ARGV[8], 'PX', ARGV[9])
  done = 1
else
  put(KEYS[3], true, held.others, held.latest)
end
