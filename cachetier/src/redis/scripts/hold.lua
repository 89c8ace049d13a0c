-- Plants the hold of a guard in KEYS[3..], beside those of other guards, in the place of anything else, and bumps the lane.
-- ARGV: the caller, channel, body, the guard's name, its time in ms. Returns era, seq, 1; or thrice 0,
-- having done nothing, where too many guards hold one of the keys.
local done, deadline, held = 1, time + ARGV[8], {}
for i = 3, #KEYS do
  held[i] = hold(KEYS[i])
  if #held[i].others >= MOST * RECORD then
    return { 0, 0, 0 }
  end
end
for i = 3, #KEYS do
  local others, latest = held[i].others, held[i].latest
  -- Planted again it stays as touched as it was.
  put(KEYS[i], others ~= '' or (held[i].own and held[i].touched), others .. record(guard, deadline), math.max(latest, deadline))
end
