-- Swaps the hold in KEYS[3] for a ticket if its guard has been alone on the key all the time, else takes the guard out of it as a
-- release does; bumps the lane either way.
-- ARGV[5..]: ticket, lease in ms. Counts 1 if planted.
local done, held = 0, hold(KEYS[3])
if held.own and held.others == '' and not held.touched then
  call('SET', KEYS[3], ARGV[5], 'PX', ARGV[6])
  done = 1
else
  put(KEYS[3], true, held.others, held.latest)
end
