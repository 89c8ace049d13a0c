-- Says where the lane stands, beginning an era if it has none.
-- ARGV: the era to begin. Returns era, seq, the server's clock in ms.
local era, seq = standing()
local time = now()
if not era then
  era, seq = tonumber(ARGV[1]), time
  begin(era, seq)
end
return { era, seq, math.floor(time / 1000) }
