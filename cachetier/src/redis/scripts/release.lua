-- Takes a guard out of the holds in KEYS[3..], or lets it end after a lag, and bumps the lane. A key in which no guard is left is
-- emptied, whatever it holds: where the guard's hold was lost, an old value may have been filled.
-- ARGV[5]: the lag in ms. Counts in how many of the keys the guard still stood.
local done, lag = 0, tonumber(ARGV[5])
if lag > 0 then
  guard_until(time + lag)
end
for i = 3, #KEYS do
  local held = hold(KEYS[i])
  if held.own then
    done = done + 1
  end
  if lag > 0 then
    put(KEYS[i], true, held.others .. record(guard, time + lag), math.max(held.latest, time + lag))
  else
    put(KEYS[i], true, held.others, held.latest)
  end
end
