-- Says where the lane stands, beginning an era if it has none, and growing its table to the size that the caller wants at least.
-- A state that another run of the server has left, or another server, may lack what was acknowledged after it was saved: unless the
-- caller takes it as it is, another era begins.
-- ARGV: the caller, the run that he was told on this connection or 0, '1' to take the state as it is. Returns era, seq, the server's
-- clock in ms, cells of the table, run.
local present, left, wanted = tonumber(ARGV[5]), run, tonumber(ARGV[4])
if present == 0 then
  present = this_run()
end
trusted = tonumber(ARGV[6])
if stands and present > 0 and left ~= present then
  stands = left == 0 or trusted == 1
  run = present
end
