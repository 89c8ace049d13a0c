-- Says where the lane stands, beginning an era if it has none, and growing its table to the size that the caller wants at least.
-- A state that another run of the server has left, or another server, may lack what was acknowledged after it was saved: unless the
-- caller takes it as it is, another era begins.
-- ARGV[2]: '1' to take the state as it is. Returns era, seq, the server's clock in ms, cells of the table, run.
local left = run
if present == 0 or run ~= present then
  -- He may have been forbidden to ask when he connected, and may ask now; or was told of another server than this.
  present = this_run()
end
trusted = tonumber(ARGV[2])
-- A table that is gone, or another's, although the state remembers one: bumps were forgotten.
if stands and written == 1 then
  stands = call('GETRANGE', TABLE, '0', '15') == struct.pack(NAMED, 'ctt\1', cells, era, HASHES)
end
if stands and guarded * 1000 < now() then
  guarded = 0
end
if stands and present > 0 and left ~= present then
  stands = left == 0 or trusted == 1
  run = present
end
