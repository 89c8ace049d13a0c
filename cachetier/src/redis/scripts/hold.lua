-- Plants the hold of a guard in KEYS[3..], beside those of other guards, in the place of anything else, and bumps the lane.
-- ARGV[5]: the guard's time in ms. Returns nothing, having done nothing, where too many guards hold one of the keys.
local done, deadline, held = 0, time + ARGV[5], {}
for i = 3, #KEYS do
  held[i] = hold(KEYS[i])
  if #held[i].others >= MOST * RECORD then
    return ''
  end
end
guard_until(deadline)
for i = 3, #KEYS do
  local others, latest = held[i].others, held[i].latest
  -- Planted again it stays as touched as it was.
  put(KEYS[i], others ~= '' or (held[i].own and held[i].touched), others .. record(guard, deadline), math.max(latest, deadline))
end
