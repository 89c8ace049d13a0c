-- ARGV[4..]: the places of the table that it is written into, as offsets in a table of the size that the caller wants. Where
-- the table has another, that size is the answer, and nothing is done.
-- The first place is written here, and is one before the cells: so a table that is gone although the state remembers one (evicted,
-- deleted) shows by its length. That ends the era: bumps were forgotten. A bump of keys alone leaves that to be found by whoever needs the
-- table.
local place, length = ARGV[4], HEAD + 8 + 8 * math.ceil(wanted / PAGE) + 8 * wanted
if place and stands then
  if cells ~= wanted then
    return cells
  end
  if written == 0 then
    call('STRLEN', TABLE)
  else
    stands = call('SETRANGE', TABLE, place, told) == length
  end
end
