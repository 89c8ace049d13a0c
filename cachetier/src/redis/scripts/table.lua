-- What the scripts share that use the table: put behind what they share of the lane.
-- The table is one string: a head that names its size and era, the last bump of everything, the last bump of each page of cells,
-- the cells, eight bytes each. The cells of a tag lie in one page.
local HEAD, PAGE, HASHES, NAMED = 16, 4096, 4, '>c4I4I4I4'
