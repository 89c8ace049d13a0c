-- What the scripts share that use the table: put behind what they share of the lane.
-- The table is one string: a head that names its size and era, the last bump of everything, the last bump of each page of cells,
-- the cells, eight bytes each. The cells of a tag lie in one page.
local HEAD, PAGE, HASHES, NAMED = 16, 4096, 4, '>c4I4I4I4'

-- A table that is gone or another's although the state remembers one (evicted, deleted) ends the era: bumps were forgotten. A bump of
-- keys alone (ARGV[6], hashes, is empty) leaves that to be found by whoever needs the table.
if stands and written == 1 and (#ARGV[6] > 0 or ARGV[7] == '1')
  and call('GETRANGE', KEYS[2], '0', '15') ~= struct.pack(NAMED, 'ctt\1', cells, era, HASHES) then
  stands = false
end
